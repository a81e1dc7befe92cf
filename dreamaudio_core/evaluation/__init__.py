"""Measures of generated audio: Frechet distance, class divergence, CLAP similarity, aesthetics and
listening tests.
"""
