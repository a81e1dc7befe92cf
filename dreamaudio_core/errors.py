"""Errors that a user can act on: each message names the file or field, what was expected and found,
and the cure.
"""


class DreamAudioError(ValueError):
    """Base of all errors caused by input rather than by a defect."""


class AudioError(DreamAudioError):
    """An audio file or waveform cannot be used."""


class CheckpointError(DreamAudioError):
    """A weight file, model folder or configuration cannot be used."""


class InputError(DreamAudioError):
    """A value given by the user lies outside what is supported."""


class TrainingError(DreamAudioError):
    """A training run cannot go on, such as after its weights are no longer finite."""
