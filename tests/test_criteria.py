"Criteria on grids of cases: gradients of many shapes and types, rules against plain loops, counting, saved states."
import itertools, json, math

import numpy as np
import pytest
import torch

from mrtl.core import ConfigError, DataError, FormatError
from mrtl.criteria import CRITERIA, Criterion, GradientStats, Rule, gradient_entropy


def series(seed, n=40):
    "A falling, noisy, positive series."
    rng = np.random.default_rng(seed)
    return (np.exp(-np.arange(n)/8) + .3 + .05*rng.random(n)).tolist()


def one_epoch(name, v):
    "What a criterion is told of an epoch, where every number that it reads is the same."
    return dict.fromkeys(CRITERIA[name].needs, v)

def epochs(crit, values):
    return [crit.update(one_epoch(crit.name, v)) for v in values]


# gradients ------------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize('dtype', [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize('shapes', [[(1,)], [(7,)], [(3, 4), (5,)], [(2, 3, 4), (1,), (6, 2)], [()]])
@pytest.mark.parametrize('B', [2, 3, 17])
def test_stats_equal_numpy_on_stacked_gradients(dtype, shapes, B):
    gen = torch.Generator().manual_seed(B)
    batches = [[torch.randn(s, generator=gen).to(dtype) for s in shapes] for _ in range(B)]
    stats = GradientStats()
    for b in batches: stats.add(b)
    got = stats.summary()
    G = np.stack([np.concatenate([t.double().numpy().ravel() for t in b]) for b in batches])
    n, mean = G.shape[1], G.mean(0)
    p = mean**2/(mean**2).sum()
    assert got['grad_norm'] == pytest.approx(np.linalg.norm(mean), rel=1e-12)
    assert got['grad_variance'] == pytest.approx(G.var(0, ddof=1).sum(), rel=1e-10)
    assert got['grad_entropy'] == pytest.approx(0. if n == 1 else -(p*np.log(p)).sum()/math.log(n), abs=1e-12)
    assert all(type(v) is float for v in got.values())


def test_variance_survives_a_large_common_gradient():
    "The textbook formula, mean of squares less square of the mean, loses all digits here; float32 sums would too."
    gen = torch.Generator().manual_seed(0)
    noise = torch.randn(50, 20, generator=gen, dtype=torch.float64)
    stats = GradientStats()
    for g in noise: stats.add([g+1e7])
    assert stats.summary()['grad_variance'] == pytest.approx(noise.var(0, unbiased=True).sum().item(), rel=1e-6)


@pytest.mark.parametrize('scale', [1e-300, 1e-150, 1., 1e150, 1e300])
def test_norm_and_entropy_hold_at_any_scale(scale):
    g = torch.tensor([3., 4., 0.], dtype=torch.float64)
    stats = GradientStats(variance=False)
    stats.add([g*scale])
    assert stats.summary()['grad_norm'] == pytest.approx(5*scale, rel=1e-12)
    assert stats.summary()['grad_entropy'] == pytest.approx(gradient_entropy(g), rel=1e-12)


@pytest.mark.parametrize('n', [2, 3, 10, 1000, 4096])
def test_entropy_limits(n):
    assert gradient_entropy(torch.ones(n)) == pytest.approx(1., abs=1e-12) and gradient_entropy(torch.ones(n)) <= 1.
    assert gradient_entropy(torch.eye(n)[0]) == 0.
    assert gradient_entropy(torch.zeros(n)) == 0.
    assert gradient_entropy(torch.full((1,), 2.)) == 0.
    assert gradient_entropy(torch.zeros(0)) == 0.
    assert math.isnan(gradient_entropy(torch.tensor([1.,
            math.nan]))) and math.isnan(gradient_entropy(torch.tensor([1., math.inf])))
    half = torch.zeros(n); half[:max(1, n//2)] = -1.
    assert gradient_entropy(half) == pytest.approx(math.log(max(1, n//2))/math.log(n), abs=1e-12)


def test_entropy_of_iid_noise_has_the_known_plateau():
    "log n - H log n tends to E[z^2 log z^2] = digamma(3/2) + log 2 for normal z."
    g = torch.randn(200_000, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    n = g.numel()
    expected = torch.special.digamma(torch.tensor(1.5)).item()+math.log(2)
    assert (1-gradient_entropy(g))*math.log(n) == pytest.approx(expected, abs=.01)


@pytest.mark.parametrize('B', [1, 5])
def test_entropy_knows_neither_sign_nor_scale_nor_order(B):
    gen = torch.Generator().manual_seed(B)
    g = torch.randn(500, generator=gen, dtype=torch.float64)
    signs = torch.randint(0, 2, (500,), generator=gen)*2.-1
    for other in (-g, g*signs, g*1e6, g*1e-6, g[torch.randperm(500, generator=gen)]):
        assert gradient_entropy(other) == pytest.approx(gradient_entropy(g), abs=1e-13)


def test_stats_leave_gradients_alone_and_start_afresh():
    p = torch.nn.Parameter(torch.ones(3)); p.grad = torch.full((3,), 2.)
    stats = GradientStats(variance=False)
    stats.add([p.grad]); stats.add([p])
    assert p.grad.tolist() == [2., 2., 2.] and not stats.mean.requires_grad
    stats.reset(); stats.add([torch.ones(4)])
    assert stats.summary() == pytest.approx(dict(grad_norm=2., grad_entropy=1.))


def test_parameters_without_gradient_are_left_out():
    stats = GradientStats(variance=False)
    stats.add([None, torch.tensor([3., 4.])])
    assert stats.summary()['grad_norm'] == 5.


def test_stats_refuse():
    with pytest.raises(DataError, match='no mini-batch'): GradientStats().summary()
    with pytest.raises(DataError, match='without any gradient'): GradientStats().add([None])
    stats = GradientStats(); stats.add([torch.ones(3)])
    with pytest.raises(ConfigError, match='at least 2'): stats.summary()
    with pytest.raises(DataError, match='4 gradient entries, the ones before had 3'): stats.add([torch.ones(4)])
    for bad in (math.nan, math.inf, -math.inf):
        stats = GradientStats(variance=False); stats.add([torch.tensor([1., bad])])
        with pytest.raises(DataError, match='not finite'): stats.summary()


# rules ----------------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize('seed', range(5))
@pytest.mark.parametrize('tol', [0., 1e-4, .05])
@pytest.mark.parametrize('shift', [0., -.8, -5.])
def test_valid_loss_is_the_plain_formula(seed, tol, shift):
    values = [v+shift for v in series(seed)]
    rule = CRITERIA['valid_loss'](tol=tol)
    got = [rule(dict(valid_loss=v)) for v in values]
    want = [False]+[not v < min(values[:i]) - tol*abs(min(values[:i])) for i, v in enumerate(values) if i]
    assert got == want and any(got)


@pytest.mark.parametrize('seed', range(5))
def test_grad_norm_is_no_new_minimum(seed):
    values = series(seed)
    rule = CRITERIA['grad_norm'](tol=.5)
    got = [rule(dict(grad_norm=v)) for v in values]
    assert got == [False]+[v >= min(values[:i]) for i, v in enumerate(values) if i]


@pytest.mark.parametrize('name', ['grad_variance', 'grad_entropy'])
@pytest.mark.parametrize('weight', [.2, .5, 1.])
@pytest.mark.parametrize('change', [.005, .02, .1])
def test_plateau_rules_are_the_plain_formula(name, weight, change):
    values = series(3)
    rule = CRITERIA[name](change=change, weight=weight)
    got = [rule(one_epoch(name, v)) for v in values]
    smooth = [values[0]]
    for v in values[1:]: smooth.append((1-weight)*smooth[-1]+weight*v)
    steps = [abs(b/a-1) for a, b in zip(smooth, smooth[1:])]
    assert not any(abs(s-change) < 1e-12 for s in steps)
    assert got == [False]+[s < change for s in steps] and (any(got) or weight == 1)


@pytest.mark.parametrize('name', CRITERIA)
@pytest.mark.parametrize('scale', [1e-6, 3., 1e6])
def test_scale_of_a_statistic_does_not_matter(name, scale):
    for seed in range(5):
        assert epochs(Criterion(name), series(seed)) == epochs(Criterion(name), [scale*v for v in series(seed)])


@pytest.mark.parametrize('name', CRITERIA)
def test_no_criterion_ends_a_level_that_gets_better_fast(name):
    values = [.8**e for e in range(100)]
    assert not any(epochs(Criterion(name), values))


@pytest.mark.parametrize('name', CRITERIA)
def test_every_criterion_ends_a_level_that_stands_still(name):
    assert epochs(Criterion(name), [1.]*8) == [False]*4+[True]*4
    assert epochs(Criterion(name), [0.]*8) == [False]*4+[True]*4


# counting -------------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize('name', CRITERIA)
@pytest.mark.parametrize('patience,consecutive', list(itertools.product([1, 2, 4, 7], [False, True])))
def test_counting(name, patience, consecutive):
    for seed in range(5):
        values = series(seed)
        rule, count, want = CRITERIA[name](), 0, []
        for v in values:
            count = count+1 if rule(one_epoch(name, v)) else (0 if consecutive else count)
            want.append(count >= patience)
        assert epochs(Criterion(name, patience=patience, consecutive=consecutive), values) == want


def test_cumulative_ends_no_later_than_consecutive():
    for seed in range(20):
        cum, row = (epochs(Criterion('grad_norm', consecutive=c), series(seed)) for c in (False, True))
        assert all(c >= r for c, r in zip(cum, row))


@pytest.mark.parametrize('name', CRITERIA)
def test_reset_makes_a_new_level(name):
    crit = Criterion(name)
    first = epochs(crit, series(0))
    crit.reset()
    assert epochs(crit, series(0)) == first


@pytest.mark.parametrize('name', CRITERIA)
@pytest.mark.parametrize('consecutive', [False, True])
@pytest.mark.parametrize('at', [0, 1, 5, 20])
def test_saved_state_goes_on_to_the_bit(name, consecutive, at):
    values = [v*math.pi for v in series(at)]
    whole = Criterion(name, consecutive=consecutive)
    want = epochs(whole, values)
    first, second = Criterion(name, consecutive=consecutive), Criterion(name, consecutive=consecutive)
    epochs(second, series(99))
    got = epochs(first, values[:at])
    second.load_state_dict(json.loads(json.dumps(first.state_dict(), allow_nan=False)))
    got += epochs(second, values[at:])
    assert got == want and second.state_dict() == whole.state_dict()


def test_state_is_a_copy():
    crit = Criterion(); crit.update(dict(valid_loss=1.))
    state = crit.state_dict(); crit.update(dict(valid_loss=.5))
    assert state['memory'] == {'best': 1.}
    other = Criterion(); other.load_state_dict(state); other.update(dict(valid_loss=.1))
    assert state['memory'] == {'best': 1.}


def test_tensors_and_numpy_numbers_are_taken():
    crit = Criterion()
    crit.update(dict(valid_loss=torch.tensor(1.))); crit.update(dict(valid_loss=np.float32(.5)))
    assert json.loads(json.dumps(crit.state_dict()))['memory'] == {'best': .5}
    assert Criterion(patience=np.int64(3)).patience == 3


def test_needs():
    assert [Criterion(c).needs_gradients for c in CRITERIA] == [False, True, True, True]
    assert [Criterion(c).needs_variance for c in CRITERIA] == [False, False, True, False]


# refusals -------------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize('kw', [dict(name='loss'), dict(name=None), dict(patience=0), dict(patience=-1),
                                dict(patience=2.5), dict(patience=None),
    dict(patience='4'), dict(tol=-1e-9), dict(tol=1.), dict(tol=math.nan), dict(change=0.), dict(change=1.),
    dict(weight=0.), dict(weight=1.1), dict(weight=math.nan)])
def test_bad_options(kw):
    with pytest.raises(ConfigError, match='got|unknown'): Criterion(**kw)


@pytest.mark.parametrize('name', CRITERIA)
@pytest.mark.parametrize('bad', [math.nan, math.inf, -math.inf])
def test_not_finite_is_refused_and_leaves_no_trace(name, bad):
    crit = Criterion(name); epochs(crit, [1., .5])
    state = crit.state_dict()
    with pytest.raises(DataError, match='diverged'): crit.update(one_epoch(name, bad))
    assert crit.state_dict() == state
    Criterion(name).update(one_epoch(name, 1.)|dict(something_else=bad))


@pytest.mark.parametrize('state', [{}, dict(name='valid_loss'), dict(name='valid_loss', count=1.5, memory={}),
                                   dict(name='valid_loss', count=1, memory=None), None])
def test_damaged_state(state):
    with pytest.raises(FormatError, match='no state'): Criterion().load_state_dict(state)


def test_a_registered_rule_is_a_criterion():
    class Never(Rule):
        needs = ('valid_loss',)
        def __call__(self, stats): return False
    CRITERIA['never'] = Never
    try: assert not any(Criterion('never', patience=1).update(dict(valid_loss=v)) for v in series(0))
    finally: del CRITERIA['never']
