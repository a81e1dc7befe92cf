"""Sizes of networks small enough to be built in every test."""

from dreamaudio_core.config import MRCConfig, VAEConfig, VocoderConfig

SMALL_VAE = VAEConfig(
    channels=8,
    multipliers=(1, 2, 2, 2),
    num_res_blocks=1,
    latent_channels=4,
    groups=4,
    middle_attention=False,
    scale_factor=0.7,
)
SMALL_VOCODER = VocoderConfig(
    upsample_initial_channel=32, resblock_kernel_sizes=(3,), resblock_dilation_sizes=((1, 3, 5),)
)
MRC_SIZES = {
    "latent_channels": 4,
    "model_channels": 32,
    "multipliers": (1, 2),
    "attention_levels": (1,),
    "num_res_blocks": 1,
    "head_dim": 16,
    "groups": 8,
    "text_dim": 24,
}
SMALL_MRC = MRCConfig(**MRC_SIZES)
