"""Systems of others under test, on weights that the user names.

AudioLDM, AudioLDM 2, Tango, Make-an-Audio and AudioGen hear the prompt alone, and run by the
packages that hold their networks. The idea of Re-AudioLDM (Yuan et al., 2024), to look up sounds
for the prompt and to generate from both, is run with this project's library and model: no
checkpoint of it is known to be public.
"""
