"""What is to be made: references, where they sound, and files of scenes."""
