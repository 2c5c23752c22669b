"""The bounds against second moments that are computed here, step by step, and never by `mrtl.bounds`; and the proof
that these checks can fail.

Each `check_*` takes the functions it tests as arguments, so that `test_a_broken_formula_is_noticed` can hand it
broken ones."""
import inspect
from functools import cache

import numpy as np
import pytest
import torch
from scipy.optimize import curve_fit

import mrtl.bounds, mrtl.criteria, mrtl.finegrain
from mrtl.bounds import (finegrain_iterations_bound, fit_decay, fixed_iterations_bound, geometric_saving,
                         mrtl_bound, schedule_cost, sgd_bound, sgd_constants, speedup_bound, transfer_bound)
from mrtl.finegrain import operator_norm
from mrtl.criteria import should_finegrain
from mrtl.core import ConfigError
from mrtl.designs import Mode
from mrtl.finegrain import coarsen, finegrain, prolongation
from mrtl.grids import Grid
from mrtl.models import LowRank

SLACK = 1+1e-9

@cache
def sound(check, function): check(function)


# one resolution -------------------------------------------------------------------------------------------------------

def moments(H, bias, cov, eta, sigma2, c, steps):
    "Exact E||w_t - w*||^2 of SGD on a diagonal quadratic, with noise of trace sigma2 + (c-1)||grad||^2, spread evenly."
    n, out = len(H), [(cov+bias**2).sum()]
    second = np.diag(cov)+np.outer(bias, bias)
    A = np.eye(n)-eta*np.diag(H)
    for _ in range(steps):
        grad2 = (H**2*np.diag(second)).sum()
        second = A@second@A+eta**2*np.eye(n)/n*(sigma2+(c-1)*grad2)
        out.append(np.trace(second))
    return np.array(out)


def check_sgd(bound, seeds=range(60)):
    for seed in seeds:
        rng = np.random.default_rng(seed)
        n = int(rng.integers(1, 6))
        H = np.exp(rng.uniform(0, 3, n))*rng.uniform(.2, 1)
        mu, L, c, sigma2 = H.min(), H.max(), 1+rng.exponential()*(seed % 3), rng.exponential()*(seed % 2)
        eta = rng.uniform(.02, .98)*2/(L*c)
        d = moments(H, rng.normal(size=n)*(seed % 4), np.zeros(n), eta, sigma2, c, 60)
        assert (d <= bound(np.arange(61), d[0], eta=eta, mu=mu, sigma2=sigma2, c=c, L=L)*SLACK+1e-300).all()


def check_sgd_is_sharp(bound):
    "On one curvature the bound is an equality, whatever the start, noise and growth of the noise."
    for eta, c, sigma2, start in [(.1, 1., 1., 0.), (.5, 1., 1., 25.), (.25, 4., 1., 25.),
                                  (.1, 2., 0., 3.), (.9, 1., 2., 0.)]:
        d = moments(np.array([1.]), np.array([start**.5]), np.zeros(1), eta, sigma2, c, 100)
        np.testing.assert_allclose(bound(np.arange(101), start, eta=eta, mu=1., sigma2=sigma2, c=c), d, rtol=1e-12)


def test_no_exact_second_moment_exceeds_the_bound(): check_sgd(sgd_bound)


def test_the_bound_is_attained_on_one_curvature(): check_sgd_is_sharp(sgd_bound)


@pytest.mark.parametrize('eta,start,broken,first', [(.1, 0., 200, 1), (.1, 25., 183, 18), (.5, 0., 200, 1),
        (.5, 25., 199, 2), (1., 25., 100, 2)])
def test_the_printed_theorem_is_broken(eta, start, broken, first):
    d = moments(np.array([1.]), np.array([start**.5]), np.zeros(1), eta, 1., 1., 200)
    over = d[1:] > sgd_bound(np.arange(200), start, eta=eta, mu=1., sigma2=1., printed=True)*SLACK
    assert over.sum() == broken and 1+over.argmax() == first


def test_the_printed_theorem_is_broken_without_noise():
    H, e = np.arange(1., 11), np.eye(10)[0]
    d = moments(H, e, np.zeros(10), .1, 0., 1., 60)
    over = d[1:] > sgd_bound(np.arange(60), 1., eta=.1, mu=1., sigma2=0., L=10., printed=True)*SLACK
    assert 1+over.argmax() == 18
    assert (d <= sgd_bound(np.arange(61), 1., eta=.1, mu=1., sigma2=0., L=10.)*SLACK).all()


def test_the_first_step_range_ends_where_it_says():
    "5 % beyond 2/(mu+L) the steep direction contracts by .826, the formula of the first range says .655."
    eta = 1.05*2/11
    d = moments(np.array([1., 10.]), np.array([0., 1.]), np.zeros(2), eta, 0., 1., 1)
    assert d[1] == pytest.approx(.826, abs=1e-3) and (1-eta)**2 == pytest.approx(.655, abs=1e-3)
    assert sgd_constants(eta, mu=1., L=10.)[0] == pytest.approx(d[1], rel=1e-12)


@pytest.mark.parametrize('c', [1., 1.5, 4.])
@pytest.mark.parametrize('L', [1., 3., 100.])
def test_gamma_over_the_whole_range_of_steps(L, c):
    "The two formulas meet at their limit, stay in [0, 1), and each is the worse of the two curvatures."
    etas = np.linspace(1e-3, 1-1e-6, 400)*2/(L*c)
    for eta in etas:
        gamma, beta = sgd_constants(eta, mu=1., L=L, c=c, sigma2=2.)
        assert 0 <= gamma < 1 and gamma*beta+eta**2*2 == pytest.approx(beta, rel=1e-9)
        assert gamma >= max((1-eta*k)**2+(c-1)*(eta*k)**2 for k in (1., L))-1e-12 or eta < 2/((1+L)*c)*SLACK
    for side in (1-1e-9, 1+1e-9):
        assert sgd_constants(2/((1+L)*c)*side, mu=1., L=L, c=c)[0] == pytest.approx(sgd_constants(2/((1+L)*c),
                mu=1., L=L, c=c)[0], abs=1e-6)


@pytest.mark.parametrize('change,says', [(dict(eta=.2), 'below 2'), (dict(eta=.3), 'below 2'),
                                         (dict(eta=0.), 'eta must be above 0'),
                                         (dict(mu=-1.), 'mu must be above 0'), (dict(c=.9), 'at least 1'),
    (dict(sigma2=-1.), 'a variance'), (dict(L=.5), 'L must be at least mu'), (dict(t=-1), 'counts steps'),
    (dict(delta0=-1.), 'a squared length'), (dict(eta=float('nan')), 'finite')])
def test_bad_settings_are_refused(change, says):
    kw = dict(t=3, delta0=1., eta=.1, mu=1., sigma2=1., L=10.)|change
    with pytest.raises(ConfigError, match=says): sgd_bound(**kw)
    with pytest.raises(ValueError): sgd_bound(**kw)


def test_shapes():
    assert np.ndim(sgd_bound(3, 1., eta=.1, mu=1., sigma2=1.)) == 0
    assert sgd_bound(np.arange(6).reshape(2, 3), 1., eta=.1, mu=1., sigma2=1.).shape == (2, 3)
    assert mrtl_bound([dict(gamma=.5, beta=1., iterations=2)], b1=3.).shape == (1,)


# several resolutions --------------------------------------------------------------------------------------------------

def ladder(seed, kind, noise):
    "A ridge on 4, 8, 16 cells of a line: per level Hessian, minimum, prolongation; kind 'count' or 'mean'."
    rng = np.random.default_rng(seed)
    X = np.cumsum(rng.normal(size=(40, 16)), 1)/4
    y = X@np.sin(np.arange(16)/3)+noise*rng.normal(size=40)
    levels = []
    for n in (4, 8, 16):
        k = 16//n
        x = X.reshape(40, n, k).sum(2) if kind == 'count' else X.reshape(40, n, k).mean(2)
        H = x.T@x/40+(.3/n if kind == 'count' else .3*n/16)*np.eye(n)
        levels.append((H, np.linalg.solve(H, x.T@y/40)))
    return levels


def walk(levels, P, start, steps, etas, sigma2):
    "Exact mean and covariance of SGD with additive noise through all levels; E||w - w*||^2 at the end of each."
    mean, cov, out = start, np.zeros((len(start),)*2), []
    for r, ((H, wstar), T, eta) in enumerate(zip(levels, steps, etas)):
        n = len(H); A = np.eye(n)-eta*H
        for _ in range(T): mean, cov = wstar+A@(mean-wstar), A@cov@A.T+eta**2*sigma2/n*np.eye(n)
        out.append(np.trace(cov)+((mean-wstar)**2).sum())
        if r < len(levels)-1: mean, cov = P[r]@mean, P[r]@cov@P[r].T
    return np.array(out)


CASES = [(seed, kind, sigma2, steps, start) for seed in range(3) for kind in ('count', 'mean')
         for sigma2 in (0., .05) for steps in ((5, 5, 5), (40, 10, 2), (1, 1, 30)) for start in (0., 2.)]

def check_levels(bound, norm=operator_norm, cases=CASES, **kw):
    # every error and every move in one direction: the bound is attained
    line = [(np.eye(1), np.array([w])) for w in (1., 0., -1.)]
    for steps in (1, 1, 1), (5, 5, 5), (20, 5, 1):
        exact = walk(line, [np.eye(1)]*2, np.array([3.]), steps, [.1]*3, 0.)
        assert (exact <= bound([dict(gamma=.81, beta=0., iterations=t, p=1., eps=1.) for t in steps],
                               b1=4., **kw)*SLACK).all()
    for seed, kind, sigma2, steps, start in cases:
        levels = ladder(seed, kind, .1)
        P = [np.repeat(np.eye(n), 2, 0)*(1. if kind == 'count' else .5) for n in (4, 8)]
        etas = [1/np.linalg.eigvalsh(H)[-1] for H,_ in levels]
        w0 = start*levels[0][1]
        exact = walk(levels, P, w0, steps, etas, sigma2)
        known = []
        for r, ((H, wstar), eta, T) in enumerate(zip(levels, etas, steps)):
            ev = np.linalg.eigvalsh(H)
            gamma, beta = sgd_constants(eta, mu=ev[0], L=ev[-1], sigma2=sigma2)
            move = dict(p=norm((1, len(H)), (1, 2*len(H)), kind=kind),
                        eps=np.linalg.norm(P[r]@wstar-levels[r+1][1])) if r < 2 else {}
            known.append(dict(gamma=gamma, beta=beta, iterations=T, **move))
        assert (exact <= bound(known, b1=((w0-levels[0][1])**2).sum(), **kw)*SLACK+1e-14).all()


def check_transfer(bound):
    assert bound(1., p=1., eps=1.) == pytest.approx(4.)
    rng = np.random.default_rng(0)
    for _ in range(200):
        P, e, d = rng.normal(size=(6, 3)), rng.normal(size=3)*rng.exponential(), rng.normal(size=6)*rng.exponential()
        e, d = (np.linalg.svd(P)[2][0]*np.linalg.norm(e),
                np.linalg.svd(P)[0][:, 0]*np.linalg.norm(d)) if rng.random() < .5 else (e, d)
        assert ((P@e+d)**2).sum() <= bound((e**2).sum(), p=np.linalg.svd(P)[1][0], eps=np.linalg.norm(d))*SLACK


@pytest.mark.parametrize('kw', [{}, dict(delta=1.), dict(delta=.1), dict(rms=True)])
def test_no_exact_run_through_levels_exceeds_the_bound(kw): check_levels(mrtl_bound, **kw)


def test_the_transfer_holds(): check_transfer(transfer_bound)


def test_the_printed_recursion_is_broken_through_levels():
    "Equation (18), even with the right gamma and beta."
    with pytest.raises(AssertionError): check_levels(mrtl_bound, printed=True)


def test_the_recursion_equals_its_closed_form():
    "The unrolled sums of Theorem A.2 corrected, on random constants."
    rng = np.random.default_rng(1)
    for _ in range(200):
        R, b1, delta = int(rng.integers(1, 6)), rng.exponential(), rng.uniform(.1, 3)
        l = [dict(gamma=rng.uniform(.3, .99), beta=rng.exponential(), iterations=int(rng.integers(0, 30)),
                  p=rng.uniform(.5, 2), eps=rng.exponential()) for _ in range(R)]
        G = np.array([x['gamma']**x['iterations'] for x in l]); q = np.array([(1+delta)*x['p']**2 for x in l])
        tail = lambda r: np.prod([G[s]*q[s-1] for s in range(r+1, R)])
        whole = tail(0)*G[0]*b1+sum(tail(r)*(1-G[r])*l[r]['beta']
                                    for r in range(R))+sum(tail(r)*G[r]*(1+1/delta)*l[r-1]['eps']**2
                for r in range(1, R))
        assert mrtl_bound(l, b1=b1, delta=delta)[-1] == pytest.approx(whole, rel=1e-10)
        root = lambda r: np.prod([G[s]**.5*l[s-1]['p'] for s in range(r+1, R)])
        whole = root(0)*(G[0]*b1)**.5+sum(root(r)*((1-G[r])*l[r]['beta'])**.5
                                          for r in range(R))+sum(root(r)*G[r]**.5*l[r-1]['eps'] for r in range(1, R))
        assert mrtl_bound(l, b1=b1, rms=True)[-1] == pytest.approx(whole**2, rel=1e-10)
        assert (mrtl_bound(l, b1=b1) <= mrtl_bound(l, b1=b1, rms=True)*SLACK).all() and (mrtl_bound(l, b1=b1)
                <= mrtl_bound(l, b1=b1, delta=delta)*SLACK).all()


@pytest.mark.parametrize('lo,hi', [((4, 9), (8, 18)), ((8, 18), (12, 27)), ((3, 4), (7, 10)),
                                   ((1, 5), (1, 10)), ((2, 2), (5, 5))])
@pytest.mark.parametrize('method', ['nearest', 'bilinear', 'overlap'])
@pytest.mark.parametrize('kind', ['count', 'mean'])
def test_operator_norm_is_the_largest_singular_value(lo, hi, method, kind):
    eye = torch.eye(lo[0]*lo[1], dtype=torch.float64).reshape(-1, *lo)
    P = finegrain(eye, hi, kind=kind, method=method).reshape(len(eye), -1).T.numpy()
    assert operator_norm(lo, hi, kind=kind,
                         method=method) == pytest.approx(np.linalg.svd(P, compute_uv=False)[0], rel=1e-10)


def check_scaling(up):
    "Predictions are kept for sums and for means; the inputs are made here, by reshaping."
    gen = torch.Generator().manual_seed(0)
    X, W = torch.randn(50, 8, 12, generator=gen, dtype=torch.float64), torch.randn(4, 6,
            generator=gen, dtype=torch.float64)
    blocks = X.reshape(50, 4, 2, 6, 2)
    for kind, x in ('count', blocks.sum((2, 4))), ('mean', blocks.mean((2, 4))):
        torch.testing.assert_close(torch.einsum('nyx,yx->n', X, up(W, (8, 12), kind=kind)),
                                   torch.einsum('nyx,yx->n', x, W))


def test_finegrain_keeps_predictions(): check_scaling(finegrain)


# iterations and cost --------------------------------------------------------------------------------------------------

def contraction(rng, gamma, n):
    Q = np.linalg.qr(rng.normal(size=(n, n)))[0]
    ev = rng.uniform(-gamma, gamma, n); ev[0] = gamma
    return Q*ev@Q.T


def check_iterations(bound):
    """A contraction whose first residual is gamma (s + (1+s) kappa) tau or less takes at most the bound's steps;
    the worst takes that many."""
    rng = np.random.default_rng(0)
    for _ in range(300):
        gamma, s, kappa, n = rng.uniform(.3, .99), rng.uniform(1, 4), rng.exponential(), int(rng.integers(1, 6))
        K = contraction(rng, gamma, n)
        move = np.linalg.eigh(K@K)[1][:, -1] if rng.random() < .5 else rng.normal(size=n)
        move = move/np.linalg.norm(move)*gamma*(s+(1+s)*kappa)
        t = 1
        while np.linalg.norm(move) > 1+1e-12: move, t = K@move, t+1
        assert 1 <= t <= bound(gamma, s=s, kappa=kappa)*SLACK


def check_cost(cost):
    "The weights of our own models, counted; a list of iterations weighs each level."
    def numel(rank, *shapes):
        return sum(f.numel() for f in LowRank([Mode(str(i), int(np.prod(s)), Grid(s) if len(s) == 2 else None)
                                               for i, s in enumerate(shapes)], rank=rank).factors)
    for rank, rest, grids in (3, [(2,), (5,)], [(2, 3), (4, 6)]), (1, [], [(3, 3), (6, 6)]), (4,
            [(1,)], [(1, 8), (1, 16)]):
        kw, each = dict(rank=rank, others=int(sum(map(np.prod, rest)))), [numel(rank, *rest, g) for g in grids]
        assert [cost([g], 1, **kw) for g in grids] == each
        assert cost(grids, [4, 1], **kw) == 4*each[0]+each[1] and cost(grids, 5, **kw) == 5*sum(each)
    assert cost([(2, 3)], 1, rank=2, order=3) == 36 and cost([(4,), (2, 2, 2)], 1) == 12


def check_attained(bound):
    """F_r(w) = gamma w + sigma_r C D_r with sigma = (-1, +1), the first level left at the longest step that (20)
    allows: the lemma's number of steps."""
    for gamma in (.5, .9, .99):
        for s, kappa in (2, 1.), (2, .1), (2, 10.), (3, 2.), (5, .3):
            C = kappa/(1-gamma); u = -(C*s+s/(1-gamma)*(1-1e-12))/(1-gamma)     # D = C0 = 1; F_1(u)-u is s/(1-gamma)
            w, t = u, 1
            while abs(gamma*w+C-w) > 1/(gamma*(1-gamma)): w, t = gamma*w+C, t+1
            most = bound(gamma, s=s, kappa=kappa)
            assert most-1-1e-6 <= t <= most*SLACK


def check_multiplicative(constants):
    """g = (1 + sqrt(c-1) z) grad f multiplies the error along a curvature k by 1 - 2 eta k + c (eta k)^2: gamma is
    the slower one, in both ranges of steps, and no step beyond them contracts."""
    for c, L in (1., 3.), (1.5, 10.), (4., 10.), (7., 1.):
        for eta in np.linspace(.01, .999, 40)*2/(L*c):
            want = max(1-2*eta*k+c*(eta*k)**2 for k in (1., L))
            gamma, beta = constants(eta, mu=1., L=L, c=c, sigma2=3.)
            assert gamma == pytest.approx(want, rel=1e-12) and beta == pytest.approx(3*eta**2/(1-want), rel=1e-9)
        with pytest.raises(ConfigError): assert constants(2.001/(L*c), mu=1., L=L, c=c)[0] < 1


def check_fixed(bound):
    """F(w) = gamma_R w + 1 takes the lower side's number of steps, rounded up; with gamma = gamma_R also the upper
    side's, rounded down."""
    for gamma in (.5, .9, .99):
        for kappa, share, eps in (.2, 1., .1), (7., 1., .001), (1., .95, 1e-3), (.2, .9, 1e-5):
            tau, t = (1-gamma)*eps/((1+kappa)*gamma), 1
            while (share*gamma)**(t-1) > tau: t += 1
            lower, upper = bound(gamma, eps, f0=1., c1=1., kappa=kappa, gamma_R=share*gamma)
            assert lower/SLACK <= t < lower+1+1e-9 and t <= upper*SLACK and (share < 1 or upper-lower <= 1+1e-9)


def check_rule(rule):
    "With F(w) = gamma w, (20) leaves the error C0 D/(1-gamma)^2 exactly where it only just fires."
    for gamma, cell, c0 in (.3, .5, 1.), (.9, 1/64, 2.), (.99, .1, .01):
        step = c0*cell/(1-gamma)**2*(1-gamma)/gamma                   # the step that ends at the promised error
        assert rule(step*(1-1e-12), gamma=gamma, cell=cell, c0=c0) and not rule(step*(1+1e-9),
                gamma=gamma, cell=cell, c0=c0)


def test_two_levels_attain_the_lemma(): check_attained(finegrain_iterations_bound)
def test_noise_that_grows_attains_gamma(): check_multiplicative(sgd_constants)
def test_the_fixed_resolution_attains_both_sides(): check_fixed(fixed_iterations_bound)
def test_the_stopping_rule_is_sharp(): check_rule(should_finegrain)
def test_iterations_of_a_level(): check_iterations(finegrain_iterations_bound)


def test_fixed_iterations_hold_on_both_sides():
    rng = np.random.default_rng(1)
    for _ in range(200):
        gamma, n, kappa, eps = rng.uniform(.3,
                                           .99), int(rng.integers(1, 6)), rng.exponential()+.1, 10**rng.uniform(-4, 1)
        Q = np.linalg.qr(rng.normal(size=(n, n)))[0]
        ev = rng.uniform(0, gamma, n)
        ev[0] = top = gamma*rng.uniform(.8, 1)
        ev[1:] *= .8
        K, f = Q*ev@Q.T, rng.normal(size=n)
        lower, upper = fixed_iterations_bound(gamma, eps, f0=np.linalg.norm(f), c1=abs(f@Q[:, 0]),
                                              kappa=kappa, gamma_R=top)
        tau, move, t = (1-gamma)*eps/(gamma*(1+kappa)), f, 1
        while np.linalg.norm(move) > tau: move, t = K@move, t+1
        assert lower/SLACK <= t <= upper*SLACK


def test_the_stopping_rule_keeps_its_promise():
    "||w_t - w*|| <= C0 D/(1-gamma)^2 whenever equation (20) says stop, on random symmetric contractions."
    rng, worst = np.random.default_rng(2), 0.
    for _ in range(500):
        gamma, n = rng.uniform(.3, .99), int(rng.integers(1, 6))
        K, g, c0, D = contraction(rng, gamma, n), rng.normal(size=n), rng.exponential()*.01, .5**rng.integers(0, 6)
        wstar, w, move = np.linalg.solve(np.eye(n)-K, g), g, g
        while not should_finegrain(np.linalg.norm(move), gamma=gamma, cell=D, c0=c0): w, move = K@w+g, K@w+g-w
        worst = max(worst, np.linalg.norm(w-wstar)*(1-gamma)**2/(c0*D))
    assert .5 < worst <= SLACK


def test_cost_counts_parameters(): check_cost(schedule_cost)


def test_schedules_of_the_paper():
    climate, basketball = [(8, 18), (12, 27), (24, 54), (40, 90), (60, 135), (80, 180)], [(8, 10), (20, 25), (40, 50)]
    assert schedule_cost(climate, 1)/schedule_cost(climate[-1:], 1) == pytest.approx(1.935, abs=1e-12)
    assert schedule_cost(basketball, 1)/schedule_cost(basketball[-1:], 1) == pytest.approx(1.29, abs=1e-12)
    for shapes, rank, others, finest, ratio in (climate, 5, 8, 72_040, 1.937), (basketball, 20, 232, 44_640, 1.468):
        assert schedule_cost(shapes[-1:], 1, rank=rank, others=others) == finest and schedule_cost(shapes, 1,
                rank=rank, others=others)/finest == pytest.approx(ratio, abs=5e-4)


@pytest.mark.parametrize('s,d', [(2, 1), (2, 2), (2.5, 2), (3, 1), (2, 3)])
def test_geometric_saving_is_the_limit_of_its_sum(s, d):
    assert geometric_saving(s, d) == pytest.approx(sum(s**(-d*r) for r in range(200)), rel=1e-12)


def test_speedup_is_one_bound_over_the_other():
    for gamma in (.9, .99):
        lower = fixed_iterations_bound(gamma, .01, f0=2., c1=2., kappa=.5)[0]
        assert speedup_bound(gamma, .01, s=3, d=2, kappa=.5, c1=2.,
                             coarse=.4) == pytest.approx(lower/(finegrain_iterations_bound(gamma, s=3,
                kappa=.5)/(1-1/9)+.4), rel=1e-12)
        lower = fixed_iterations_bound(gamma, .01, f0=2., c1=2., gamma_R=.8)[0]
        assert speedup_bound(gamma, .01, c1=2.,
                             gamma_R=.8) == pytest.approx(lower/finegrain_iterations_bound(gamma)/2, rel=1e-12)


@pytest.mark.parametrize('call,says', [(lambda: finegrain_iterations_bound(1.), 'gamma'),
                                       (lambda: finegrain_iterations_bound(np.array([.5, 0.])), 'gamma'),
                                       (lambda: finegrain_iterations_bound(.5, s=.5), 's must'),
    (lambda: finegrain_iterations_bound(.5, kappa=0.), 'kappa'),
    (lambda: fixed_iterations_bound(.5, -1., f0=1.), 'eps'),
    (lambda: fixed_iterations_bound(.5, .1, f0=1., c1=2.), 'c1'),
    (lambda: schedule_cost([(2,)], [1, 2]), '1 shapes but 2'),
    (lambda: schedule_cost([(2,)], 1, others=-1), 'others must'), (lambda: geometric_saving(1, 2), 's must'),
    (lambda: geometric_saving(2, 0), 'd at least'), (lambda: transfer_bound(-1., p=1., eps=0.), 'at least 0'),
    (lambda: transfer_bound(1., p=1., eps=0., delta=0.), 'delta'),
    (lambda: mrtl_bound([dict(gamma=.5)], b1=1.), 'beta, iterations'),
    (lambda: should_finegrain(1., gamma=.5, cell=0., c0=1.), 'cell and c0')])
def test_bad_arguments_are_refused(call, says):
    with pytest.raises(ConfigError, match=says): call()


# gamma from a run -----------------------------------------------------------------------------------------------------

def check_decay(fit):
    """Exact without noise, whatever the units; with noise the interval holds the truth and is no wider than it need
    be; nothing is known where nothing decays."""
    t, rng = np.arange(40), np.random.default_rng(0)
    for gamma, floor, gap in (.5, 0., 1.), (.85, .3, 2.), (.97, -4., 1e-3), (.9, 1., -.5):
        r = fit(floor+gap*gamma**t)
        np.testing.assert_allclose([r[k] for k in ('gamma', 'low', 'high', 'floor', 'gap')],
                                   [gamma]*3+[floor, gap], rtol=1e-4, atol=1e-6)
    runs = [(g, fit(.3+g**t+s*rng.normal(size=40))) for g, s in ((.8, .02), (.9, .03)) for _ in range(60)]
    assert np.mean([r['low'] <= g <= r['high'] for g, r in runs]) > .9
    assert np.median([r['high']-r['low'] for _, r in runs]) < .2
    flat = fit(1+.03*rng.normal(size=40))
    assert flat['low'] < .1 and flat['high'] > .9


def test_edges_of_what_is_allowed():
    assert transfer_bound(1, p=0, eps=2) == 4 and transfer_bound(3., p=2, eps=1,
            printed=True) == 13 and transfer_bound(4., p=3, eps=0) == 36
    for a,p in ([-1., 1.], 1.), (1., -.5):
        with pytest.raises(ConfigError, match='at least 0'): transfer_bound(a, p=p, eps=1.)
    r = fixed_iterations_bound(.5, .01, f0=2.)
    assert r.lower == 1 and r == fixed_iterations_bound(.5, .01, f0=2., c1=0.)
    assert fixed_iterations_bound(.5, .01, f0=2., c1=np.nextafter(2., 3.)).lower > 7  # rounding is no error
    for eps in np.inf, [.1, -1.], [.1, np.nan]:
        with pytest.raises(ConfigError, match='eps must be above 0 and finite'): fixed_iterations_bound(.5, eps, f0=2.)
    for f0 in 0., -1.:
        with pytest.raises(ConfigError, match='f0 must be above 0'): fixed_iterations_bound(.5, .01, f0=f0)


@pytest.mark.parametrize('blocks', [2, 5, 8])
def test_the_interval_is_the_jackknife_of_curve_fit(blocks):
    t = np.arange(40); y = .3+.85**t+.01*np.random.default_rng(1).normal(size=40)
    def rate(keep):
        return curve_fit(lambda t, floor, gap, k: floor+gap*np.exp(-np.exp(k)*t), t[keep], y[keep], (.3, 1., -1.8),
                         xtol=1e-12, ftol=1e-12)[0][2]
    k = rate(np.ones(40, bool)); others = np.array([rate(~np.isin(t, b)) for b in np.array_split(t, blocks)])
    # Student's t for one degree of freedom less than blocks, from a table
    half = {2: 12.7062, 5: 2.77645, 8: 2.36462}[blocks]*np.sqrt((blocks-1)*others.var())
    r = fit_decay(y, blocks=blocks); want = np.exp(-np.exp(np.clip([k, k+half, k-half], -30, 5)))
    np.testing.assert_allclose([r['gamma'], r['low'], r['high']], want, rtol=1e-4)


@pytest.mark.parametrize('gamma', [.5, .97, np.exp(-.15/39), np.exp(-4.5)])
def test_decays_without_noise_come_back(gamma):
    "From one that has hardly begun to one that is over after an epoch."
    r = fit_decay(.3+2*gamma**np.arange(40))
    np.testing.assert_allclose([r[k] for k in ('gamma', 'floor', 'gap')], [gamma, .3, 2], rtol=1e-6)


def test_gamma_of_a_run(): sound(check_decay, fit_decay)


@pytest.mark.parametrize('loss,kw,says', [([1., .5], {}, '2 epochs for each'), (np.ones((12, 2)), {}, 'got shape'),
                                          ([1.]*9+[np.nan]*3, {}, '3 values that are not finite'),
                                          ([1.]*12, dict(blocks=1), '2 or more blocks')])
def test_losses_that_cannot_be_fitted(loss, kw, says):
    with pytest.raises(ConfigError, match=says): fit_decay(loss, **kw)


# can these checks fail? -----------------------------------------------------------------------------------------------

def broken(module, name, old, new):
    "A copy of a function with one piece of its source replaced."
    source = inspect.getsource(getattr(module, name))
    assert source.count(old) == 1, f'{name} has {source.count(old)} times {old!r}: write the mutation anew'
    space = dict(vars(module)); exec(source.replace(old, new), space)
    return space[name]


B, F = mrtl.bounds, mrtl.finegrain
MUTANTS = dict(
    sign_of_beta=(check_sgd, B, 'sgd_bound', '(1-g)*beta', '-(g+1)*beta'),
    no_beta=(check_sgd, B, 'sgd_bound', '+(1-g)*beta', ''),
    second_order_dropped=(check_sgd, B, 'sgd_constants', '+c*(eta*k)**2', ''),
    one_range_of_steps=(check_sgd, B, 'sgd_constants', 'mu if eta<=2/((mu+L)*c) else L', 'mu'),
    cross_term_dropped=(check_transfer, B, 'transfer_bound', '(p*np.sqrt(a)+eps)**2', 'p**2*a+eps**2'),
    cross_term_dropped_in_levels=(check_levels, B, 'mrtl_bound', 'printed=printed', 'printed=True'),
    noise_floor_dropped=(check_levels, B, 'mrtl_bound', 'G*b+(1-G)*beta', 'G*b'),
    wrong_scaling_direction=(check_scaling, F, 'finegrain', 'hi.share.to(W)*_copy(W/_share(lo, W), lo, hi, method)',
                             '_copy(W*_share(lo, W), lo, hi, method)/hi.share.to(W)'),
    no_scaling=(check_scaling, F, 'finegrain', 'hi.share.to(W)*_copy(W/_share(lo, W), lo, hi, method)',
                '_copy(W, lo, hi, method)'),
    side_for_cells=(check_cost, B, 'schedule_cost', 'np.prod(s)', 's[0]'),
    log_without_absolute_value=(check_iterations, B, 'finegrain_iterations_bound', 'np.abs(np.log(g))', 'np.log(g)'),
    floor_left_out=(check_decay, B, '_decay', 'np.ones(len(t))', 'np.zeros(len(t))'),
    one_rate_for_all=(check_decay, B, '_decay', 'ks[np.argmin([parts(k)[1] for k in ks])]', 'ks[30]'),
    interval_too_narrow=(check_decay, B, 'fit_decay', 'student.ppf(.975, blocks-1)*math', '.1*math'),
    interval_too_wide=(check_decay, B, 'fit_decay', '(blocks-1)/blocks*', '99*'),
    c_left_out_of_gamma=(check_multiplicative, B, 'sgd_constants', '+c*(eta*k)**2', '+(eta*k)**2'),
    c_left_out_of_the_range=(check_multiplicative, B, 'sgd_constants', 'mu if eta<=2/((mu+L)*c)',
                             'mu if eta<=2/(mu+L)'),
    flattest_direction_only=(check_multiplicative, B, 'sgd_constants', 'mu if eta<=2/((mu+L)*c) else L', 'mu'),
    c_left_out_of_the_limit=(check_multiplicative, B, 'sgd_constants', 'if eta>=2/(L*c)', 'if eta>=2/L'),
    kappa_once=(check_attained, B, 'finegrain_iterations_bound', 's+(1+s)*kappa', 's+kappa'),
    kappa_twice=(check_attained, B, 'finegrain_iterations_bound', 's+(1+s)*kappa', 's+2*s*kappa'),
    no_first_step=(check_attained, B, 'finegrain_iterations_bound', '(1+np.log', '(np.log'),
    one_step_more=(check_attained, B, 'finegrain_iterations_bound', '(1+np.log', '(2+np.log'),
    rule_without_gamma=(check_rule, mrtl.criteria, 'should_finegrain', '/(gamma*(1-gamma))', '/(1-gamma)'),
    rule_with_gamma_twice=(check_rule, mrtl.criteria, 'should_finegrain', '/(gamma*(1-gamma))',
                           '/(gamma*(1-gamma)**2)'),
    threshold_for_one_kappa=(check_fixed, B, 'fixed_iterations_bound', '(g*(1+kappa))', '(g*2)'),
    threshold_without_gamma=(check_fixed, B, 'fixed_iterations_bound', '(g*(1+kappa))', '(1+kappa)'),
    finest_gamma_ignored=(check_fixed, B, 'fixed_iterations_bound', 'np.log(gR)', 'np.log(g)'),
    upper_side_a_step_low=(check_fixed, B, 'fixed_iterations_bound', 'upper = 2+', 'upper = 1+'),
    lower_side_a_step_low=(check_fixed, B, 'fixed_iterations_bound', 'lower = 1+', 'lower = '),
    other_modes_free=(check_cost, B, 'schedule_cost', '(order*n+others)', '(order*n)'),
    other_modes_once=(check_cost, B, 'schedule_cost', '((order*n+others)*t).sum()', '((order*n*t).sum()+others)'),
    kappa_left_out=(check_iterations, B, 'finegrain_iterations_bound', 's+(1+s)*kappa', 's'),
)

@pytest.mark.parametrize('mutant', MUTANTS)
def test_a_broken_formula_is_noticed(mutant):
    check, module, name, old, new = MUTANTS[mutant]
    outer = getattr(module, name if check is check_multiplicative else {'sgd_constants': 'sgd_bound',
            '_decay': 'fit_decay'}.get(name, name))
    sound(check, outer)
    bad = broken(module, name, old, new)
    if outer.__name__ != name:
        space = dict(vars(B), **{name: bad}); exec(inspect.getsource(outer), space); bad = space[outer.__name__]
    with pytest.raises(AssertionError): check(bad)
