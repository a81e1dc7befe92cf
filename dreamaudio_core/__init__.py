"""DreamAudio: customized text-to-audio generation from a prompt and a few captioned reference
sounds.
"""

__version__ = "0.1.0"
