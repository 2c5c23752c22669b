"""Evidence on pseudo-rows: the same as the dual for every noise, covariates, outputs and folds; files; the choice."""
import numpy as np, pytest, torch
from dataclasses import replace
from mrtl.estimators import MRTLRegressor
from mrtl.evidence.effects import Effects
from mrtl.evidence.ladder import component_level, fit_maps, map_variance, no_maps, score_variance
from mrtl.evidence.prior import FeaturePrior, MapData, MapLevel, Part, TimeFields, feature_rows, project, times_of
from mrtl.evidence.cells import pooled
from mrtl.evidence.rows import Noise, Rows, rung_evidence
from mrtl.grids import Grid
from mrtl.splits import block_folds

N,F = 300,4
def draw(*s, seed=0): return torch.from_numpy(np.random.default_rng(seed).normal(size=s))

def samples(noise='plain', covariates=0, ridge=0., land=False, centred=True):
    "300 samples of two leads of two variables on 6 x 7 cells; `dual()` of its likelihood is the oracle."
    mask = torch.ones(6, 7, dtype=torch.bool)
    mask[0,:3] = not land; u = draw(N+2, 2, 6, 7)*mask
    times = torch.arange(2, N+2)
    if not centred:
        mean,sd = draw(2, 6, 7, seed=9)*mask,torch.tensor([2.,5.]).double()
        u = TimeFields(u*sd[:,None,None]+mean, mean, sd)
    root = torch.ones(N).double() if noise in ('plain','sums') else .5+draw(N, seed=1).abs()
    like = Rows(Noise(root, times, 3 if 'sums' in noise else 1),
                Effects(draw(N, covariates, seed=2), ridge) if covariates else None)
    return MapData(u, feature_rows(times[:,None]-torch.arange(2), 2), draw(N, seed=3)+draw(N+2, 2, 6, 7)[2:,0,2,3],
                   Grid((6,7), mask=mask), like, 1e-2)

def dual(d): return replace(d, likelihood=d.likelihood.dual())

def level(d, parts=1):
    A = draw(F, F, seed=4)/3
    more = [Part(1.3, torch.ones(6, 7).double()*d.grid.mask, torch.outer(A[0], A[0]))] if parts>1 else []
    return MapLevel([Part(2., (.5+draw(6, 7, seed=5).abs())*d.grid.mask, A@A.T), *more], None, .6, 0.)

CASES = dict(plain={}, weights=dict(noise='weights'), sums=dict(noise='sums'),
             weighted_sums=dict(noise='weighted sums', land=True), covariates=dict(covariates=2),
    shrunk=dict(noise='weighted sums', covariates=2, ridge=.7),
    standardised=dict(centred=False, land=True, covariates=1))

@pytest.mark.parametrize('name', CASES)
def test_equal_to_the_dual(name, monkeypatch):
    """Value and gradient of a length, of a sum of parts and of no maps; maps, intercept, coefficients, variances of
    cells and of new scores. Chunks of 64 samples."""
    monkeypatch.setattr('mrtl.evidence.rows.CHUNK', 1)
    d = samples(**CASES[name]); pool = pooled(d, [])
    x = np.append(draw(16, seed=6).numpy()/2, -.4)
    prior = FeaturePrior(2, 2, 'free')
    S = torch.ones(6, 7).double()*d.grid.mask
    evidences = [rung_evidence(e, project(e.u, S, e.modes(2.)), prior) for e in (dual(d), d, pool)]
    assert len(evidences[0].y)==N and max(len(e.y) for e in evidences[1:])<N/2
    (v,g),*others = (e(x) for e in evidences)
    for w,h in others: assert abs(w-v)<1e-8 and np.allclose(g, h, rtol=1e-8, atol=1e-8)
    values = [no_maps(e).value for e in (dual(d), d, pool)]; assert np.allclose(values, values[0], rtol=0, atol=1e-8)
    a,*both = (e.likelihood.settle(level(e, 2), e) for e in (dual(d), d, pool))
    new = torch.arange(7)
    z = None if d.likelihood.effects is None else draw(7, d.likelihood.effects.Z.shape[1], seed=8)
    spread = lambda l: (map_variance(l, d.rows),
                        score_variance(l, d.rows, [times_of(p, d.u) for p in l.parts], d.rows[new], z))
    for b in both:
        assert b.ones is not None and len(b.L)<N/2 and abs(a.bias-b.bias)<1e-10 and torch.allclose(a.maps,
                b.maps, rtol=0, atol=1e-10)
        assert all(torch.allclose(s, t, rtol=0, atol=1e-10) for s,t in zip(spread(a), spread(b)))
        if z is not None:
            assert torch.allclose(a.gamma, b.gamma, atol=1e-10) and torch.allclose((a.C**2).sum(1),
                    (b.C**2).sum(1), atol=1e-10)
    c,*more = (component_level(a, e) for e in (dual(d), d, pool))
    for e in more: assert abs(e.value-c.value)<1e-6 and [p.length for p in e.parts]==[p.length for p in c.parts]

@pytest.mark.parametrize('name', ['weights', 'weighted_sums', 'covariates'])
def test_folds_are_the_samples_that_are_left(name):
    d = samples(**CASES[name])
    folds = block_folds(np.arange(N), 4); pool = pooled(d, folds)
    assert bool(pool.out)==(d.likelihood.noise.window==1)
    for k,(train,held) in enumerate(folds):
        a,b,c = (e.likelihood.settle(level(e), e)
                 for e in (dual(d).take(train), pool.without(k, train), d.without(k, train)))
        assert b.ones is not None and len(a.L)==len(train)
        assert torch.allclose(a.maps, b.maps, rtol=0, atol=1e-9) and torch.allclose(a.maps, c.maps, rtol=0, atol=1e-9)
        p = dual(d).likelihood.predict(a, dual(d).take(train), dual(d).take(held))
        assert torch.allclose(d.likelihood.predict(b, pool, d.take(held)), p, atol=1e-8)

def test_a_whole_fit(monkeypatch):
    "Ladder, adaptation, components and vote: the same levels and weights, by modes and by cells."
    d = samples('weights', 1, land=True)
    monkeypatch.setattr('mrtl.evidence.ladder.cells_pay', lambda *a: False)
    fits = [fit_maps(e) for e in (dual(d), d)]
    monkeypatch.setattr('mrtl.evidence.ladder.cells_pay', lambda *a: True); fits.append(fit_maps(d)); a = fits[0]
    for b in fits[1:]:
        assert np.allclose([l.value for l in a.levels], [l.value for l in b.levels],
                           atol=1e-4) and np.allclose(a.weights, b.weights, atol=1e-3) and len(b.rows)==1
        assert torch.allclose(a.maps, b.maps, atol=1e-4*float(a.maps.abs().max())) and torch.allclose(a.map_std(),
                b.map_std(), rtol=1e-3) and torch.allclose(a.residuals, b.residuals, atol=1e-3)
        new = torch.arange(5)
        s,t = (f.predict(d.u, torch.arange(9, 4, -1)[:,None]-torch.arange(2), True, draw(5, 1)) for f in (a, b))
        assert all(torch.allclose(v, w, rtol=1e-3, atol=1e-3) for v,w in zip(s, t))

@pytest.mark.parametrize('outputs', [1, 2])
def test_estimators_and_files(outputs, monkeypatch, tmp_path):
    "With pseudo-rows forced: the same model as by the dual, one pass for all outputs, and back from its file."
    rng = np.random.default_rng(0)
    X = rng.normal(size=(260,5,6)).astype(np.float32)
    Y = X[:,2,3,None]*np.arange(1, 1+outputs)+rng.normal(size=(260, outputs))
    w = rng.uniform(.5, 2, 260); passes = []
    one = MRTLRegressor(method='evidence').fit(X, Y, sample_weight=w)
    monkeypatch.setattr('mrtl.evidence.model.rows_pay', lambda *a: True)
    monkeypatch.setattr('mrtl.evidence.ladder.cells_pay', lambda *a: True)
    import mrtl.evidence.rows as rows; count = rows._more
    monkeypatch.setattr(rows, '_more', lambda G, A: (passes.append(G.shape[0]), count(G, A))[1])
    # five folds make the whole, for all outputs
    m = MRTLRegressor(method='evidence').fit(X, Y, sample_weight=w); assert passes.count(32)==5
    assert np.abs(m.coef_-one.coef_).max()<1e-3*np.abs(one.coef_).max()
    m.save(tmp_path/'m.mrtl')
    again = MRTLRegressor.load(tmp_path/'m.mrtl')
    np.testing.assert_array_equal(again.predict(X), m.predict(X))
    np.testing.assert_allclose(again.predict(X, return_std=True)[1], one.predict(X, return_std=True)[1], rtol=1e-3)
    np.testing.assert_allclose(again.coef_std_, one.coef_std_, rtol=2e-3)
