"""Flow path, solvers, guidance and noise; the DDPM variant's schedule and sampler."""

import math

import pytest
import torch

from dreamaudio_core.errors import InputError
from dreamaudio_core.sampling import ddpm as diffusion
from dreamaudio_core.sampling import flow
from dreamaudio_core.sampling.guidance import Guidance, branches
from dreamaudio_core.sampling.noise import initial_noise
from dreamaudio_core.sampling.solvers import SOLVERS


def test_path_ends_and_velocity():
    g = torch.Generator().manual_seed(0)
    noise, data = torch.randn(3, 2, 4, 4, generator=g), torch.randn(3, 2, 4, 4, generator=g)
    start, velocity = flow.path(noise, data, torch.zeros(3))
    torch.testing.assert_close(start, noise)
    end, _ = flow.path(noise, data, torch.ones(3))
    torch.testing.assert_close(end, data + flow.SIGMA * noise)
    half, _ = flow.path(noise, data, torch.full((3,), 0.5))
    torch.testing.assert_close(start + 0.5 * velocity, half)


def test_loss_is_zero_for_the_true_velocity():
    noise, data = torch.randn(2, 2, 4, 4), torch.randn(2, 2, 4, 4)
    perfect = flow.flow_loss(
        lambda z, t: data - (1 - flow.SIGMA) * noise, data, torch.tensor([0.2, 0.7]), noise
    )
    assert perfect < 1e-12
    assert flow.flow_loss(lambda z, t: torch.zeros_like(z), data, noise=noise) > 0.5


def error(solver: str, steps: int) -> float:
    """Error against dz/dt = z cos t, whose solution is exp(sin t)."""
    z = SOLVERS[solver](
        lambda z, t: z * math.cos(t), torch.ones(1, dtype=torch.float64), flow.times(steps)
    )
    return abs(z.item() - math.exp(math.sin(1.0)))


@pytest.mark.parametrize(
    "solver, order", [("euler", 1), ("midpoint", 2), ("heun", 2), ("ab2", 2), ("abm", 3)]
)
def test_order_of_convergence(solver, order):
    assert math.log2(error(solver, 400) / error(solver, 800)) == pytest.approx(order, abs=0.25)


@pytest.mark.parametrize(
    "solver, per_step", [("euler", 1), ("midpoint", 2), ("heun", 2), ("ab2", 1), ("abm", 1)]
)
def test_evaluations_and_progress(solver, per_step):
    calls, seen = [], []

    def velocity(z, t):
        calls.append(t)
        return z

    SOLVERS[solver](velocity, torch.ones(1), flow.times(7), lambda i, n, z: seen.append((i, n)))
    assert len(calls) == 7 * per_step
    assert seen == [(i + 1, 7) for i in range(7)]


@pytest.mark.parametrize("solver, order", [("ab2", 2), ("abm", 3)])
def test_multistep_solvers_keep_their_order_on_shifted_times(solver, order):
    def shifted(steps):
        times = flow.times(steps, shift=3.0)
        z = SOLVERS[solver](lambda z, t: z * math.cos(t), torch.ones(1, dtype=torch.float64), times)
        return abs(z.item() - math.exp(math.sin(1.0)))

    assert math.log2(shifted(80) / shifted(160)) == pytest.approx(order, abs=0.2)


def test_eased_times_have_shorter_steps_at_both_ends():
    sizes = [b - a for a, b in zip(flow.times(8, ease=0.7), flow.times(8, ease=0.7)[1:])]
    assert sizes == pytest.approx(sizes[::-1]) and sum(sizes) == pytest.approx(1.0)
    assert all(a < b for a, b in zip(sizes[:4], sizes[1:4])) and sizes[0] < 0.5 * sizes[3]
    both = flow.times(8, shift=2.0, start=0.3, ease=0.7)
    assert both[0] == pytest.approx(0.3) and both[-1] == 1.0 and both == sorted(both)
    with pytest.raises(InputError, match="ease"):
        flow.times(8, ease=1.0)


def test_times():
    assert flow.times(4) == pytest.approx([0, 0.25, 0.5, 0.75, 1])
    shifted = flow.times(4, shift=3.0)
    assert (
        shifted[0] == 0
        and shifted[-1] == 1
        and all(a < b for a, b in zip(flow.times(4), flow.times(4)[1:]))
    )
    assert shifted[2] == pytest.approx(1 - 3 * 0.5 / (1 + 2 * 0.5))
    assert flow.times(4, shift=3.0, start=0.4)[0] == pytest.approx(0.4)
    for bad in (
        {"steps": 0},
        {"steps": -1},
        {"steps": 2.5},
        {"steps": 4, "shift": 0.0},
        {"steps": 4, "start": 1.0},
    ):
        with pytest.raises(InputError):
            flow.times(**bad)


def combine(guidance: Guidance, strengths: list[float], value) -> float:
    return sum(
        w * value(prompt, references) for prompt, references, w in branches(guidance, strengths)
    )


def test_joint_guidance_costs_two_evaluations():
    assert branches(Guidance(2.0), [1.0, 1.0]) == [(True, (0, 1), 2.0), (False, (), -1.0)]
    assert branches(Guidance(1.0), [1.0, 1.0]) == [(True, (0, 1), 1.0)]


@pytest.mark.parametrize(
    "text, reference, strengths",
    [(2.0, 3.0, [1.0, 1.0]), (3.5, 1.0, [0.5, 2.0]), (1.0, 1.0, [0.0, 1.0])],
)
def test_branches_are_the_stated_sum(text, reference, strengths):
    """On a made-up velocity that is linear in prompt and references, guidance has a closed form."""
    gains = [5.0, 7.0]

    def value(prompt, references):
        return 1.0 + 10.0 * prompt + sum(gains[k] for k in references)

    used = [k for k, s in enumerate(strengths) if s]
    expected = (
        1.0
        + text * 10.0
        + reference * sum(gains[k] for k in used)
        + sum((strengths[k] - 1) * gains[k] for k in used)
    )
    assert combine(Guidance(text, reference), strengths, value) == pytest.approx(expected)


def test_strength_zero_leaves_a_reference_out():
    assert all(0 not in references for _, references, _ in branches(Guidance(2.0), [0.0, 1.0]))


def test_weights_sum_to_one():
    for strengths in ([], [1.0], [0.3, 2.0, 0.0]):
        total = sum(w for *_, w in branches(Guidance(4.0, 1.5), strengths))
        assert total == pytest.approx(1.0)


def test_absurd_guidance_is_refused():
    for bad in (
        {"text": -1.0},
        {"text": 1e6},
        {"references": float("nan")},
    ):
        with pytest.raises(InputError):
            Guidance(**bad)


def test_noise_depends_on_the_seed_alone():
    alone = initial_noise((2, 4, 4), [7])
    third = initial_noise((2, 4, 4), [5, 6, 7])
    assert torch.equal(alone[0], third[2])
    assert not torch.equal(third[0], third[1])


def test_ddpm_schedule_and_ddim():
    alphas = diffusion.alphas_cumprod()
    assert alphas[0].item() == pytest.approx(1 - 0.0015)
    last = 1 - (alphas[-1] / alphas[-2]).item()
    assert last == pytest.approx(0.0195)
    data, noise = (
        torch.randn(2, 2, 4, 4, dtype=torch.float64),
        torch.randn(2, 2, 4, 4, dtype=torch.float64),
    )
    z = diffusion.start_latent(data, noise, 10, 0.0)
    seen = []

    # An oracle that knows the data sees each z's exact noise, so DDIM must return the data.
    def oracle(z, time):
        alpha = alphas[round(time * 1000)]
        return (z - alpha.sqrt() * data) / (1 - alpha).sqrt()

    out = diffusion.ddim(oracle, z, 10, callback=lambda i, n, z: seen.append((i, n)))
    torch.testing.assert_close(out, data, atol=1e-9, rtol=1e-9)
    assert seen[-1] == (10, 10)
    assert diffusion.ddim_steps(200)[0] == 999 and len(diffusion.ddim_steps(200)) == 200
    with pytest.raises(InputError, match="steps"):
        diffusion.ddim_steps(0)


def test_ddpm_loss():
    data, noise, step = torch.randn(2, 2, 4, 4), torch.randn(2, 2, 4, 4), torch.tensor([10, 900])
    times = []

    def perfect(z, time):
        times.append(time)
        return noise

    assert diffusion.ddpm_loss(perfect, data, step, noise) == 0
    torch.testing.assert_close(times[0], torch.tensor([0.01, 0.9]))
