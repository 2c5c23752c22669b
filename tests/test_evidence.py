"""The evidence method: bad input, invariances, masks, files, and that nothing depends on luck."""
from copy import deepcopy
import numpy as np
import pytest
import torch
import xarray as xr
from mrtl.events import EventDesign
from mrtl.designs import FieldDesign, Mode
from mrtl.evidence import ladder as evidence_fit
import mrtl.ways
from dataclasses import replace
from mrtl.core import AbsentError, ConfigError, DataError, ScheduleError
from mrtl.fits import EvidenceFit
from mrtl.estimators import MRTLRegressor
from mrtl.evidence.prior import (FeaturePrior, Gaussian, MapData, MapLevel, Part, axis_modes, coast_modes,
                                 feature_rows, kernel_modes, pair_grams, project, sample_kernel)
from mrtl.evidence.ladder import (amplitude, climb, component_level, fit_maps, held_out, ladder_lengths,
                                  map_variance, remake, split_maps)
from mrtl.evidence.model import EvidenceModel, fit_evidence_model, overlap_window
from mrtl.grids import Grid
from mrtl.simulate import simulate_field

def evidence(**kw): return MRTLRegressor(method='evidence', **kw)

@pytest.fixture(scope='module')
def months():
    ds = simulate_field(n=240, shape=(8,12), leads=2, variables=2, rank=1, seed=0)
    d = FieldDesign.from_xarray(ds.X, leads=2, dtype=torch.float64)
    return d,ds.y.values[d.rows],ds

@pytest.fixture(scope='module')
def fitted(months): return evidence().fit(*months[:2])

def test_finds_the_planted_map(fitted, months):
    d,y,ds = months
    assert np.corrcoef(fitted.coef_.values.ravel(), ds.beta.values.ravel())[0,1]>.95
    assert 1-((fitted.predict(d)-ds.signal.values[d.rows])**2).sum()/(ds.signal.values[d.rows]**2).sum()>.9

def test_noise_of_outputs_knows_how_that_of_their_directions_goes_together():
    rng = np.random.default_rng(0); u = rng.normal(size=(320, 1, 5, 6)); s = u[:,0,1:4,1:4].sum((1,2))[:,None]
    root = np.array([[1., 0., 0.], [.9, .5, 0.], [-.5, .3, .6]])
    Y = s*np.array([1., 2., .7])+4*rng.normal(size=(320, 3))@root.T
    d = FieldDesign(torch.from_numpy(u), Grid((5,6)))
    old,new = d.take(torch.arange(160)),d.take(torch.arange(160, 320))
    m = fit_evidence_model(old, Y[:160], np.ones(160), Y[:160].mean(0), Y[:160].std(0), window=1)
    assert m.votes[1]>0
    shared = replace(m, votes=(0., 1.)); alone = replace(shared, ties=None)
    true = 16*(root@root.T).diagonal()
    off = [np.abs(np.log(k.noise()/true)).max() for k in (shared, alone)]
    assert off[0]<.25 and off[1]>2*off[0]
    # the noise alone changes, by the same for all samples
    np.testing.assert_allclose(shared.predict_std(new)**2-alone.predict_std(new)**2,
                               np.broadcast_to(shared.noise()-alone.noise(), (160, 3)), rtol=1e-6)
    np.testing.assert_allclose(shared.score_variances(new), alone.score_variances(new), rtol=1e-6, atol=1e-9)
    tensors,meta = m.pack(); again = EvidenceModel.unpack(tensors, meta, d.modes)
    np.testing.assert_array_equal(again.predict_std(new), m.predict_std(new))
    del tensors['ties']                                   # a file of before
    np.testing.assert_array_equal(EvidenceModel.unpack(tensors, meta, d.modes).predict_std(new),
                                  replace(m, ties=None).predict_std(new))


@pytest.mark.parametrize('name', ['shift of y', 'scale of y', 'units of X'])
def test_units_do_not_matter(fitted, months, name):
    d,y,ds = months; p = fitted.predict(d)
    if name=='shift of y': np.testing.assert_allclose(evidence().fit(d, y+50).predict(d), p+50, rtol=0, atol=1e-5)
    if name=='scale of y': np.testing.assert_allclose(evidence().fit(d, y*1e4).predict(d), p*1e4, rtol=0, atol=1e-1)
    if name=='units of X':
        k = FieldDesign.from_xarray(ds.X*7-300, leads=2, dtype=torch.float64); m = evidence().fit(k, y)
        np.testing.assert_allclose(m.predict(k), p, rtol=0, atol=1e-5)
        np.testing.assert_allclose(m.coef_std_*7, fitted.coef_std_, rtol=1e-4)

@pytest.mark.parametrize('seed', range(1, 4))
def test_the_seed_does_not_matter(fitted, months, seed):
    xr.testing.assert_identical(evidence(random_state=seed).fit(*months[:2]).coef_, fitted.coef_)

def test_the_order_of_rows_matters_little():
    "It decides the folds of the vote, and nothing else does."
    rng = np.random.default_rng(0); X = rng.normal(size=(150,6,8)); y = X[:,1:4,2:5].sum((1,2))+rng.normal(size=150)
    maps = [evidence().fit(X[o], y[o]).coef_.values.ravel()
            for o in (np.arange(150), *(rng.permutation(150) for _ in range(3)))]
    assert all(np.corrcoef(maps[0], m)[0,1]>.99 for m in maps[1:]) and not np.array_equal(maps[0], maps[1])

@pytest.mark.parametrize('loss', ['squared', 'poisson'])
def test_no_seed_is_used(loss):
    rng = np.random.default_rng(0); X = rng.normal(size=(60,5,6)); y = rng.poisson(np.exp(X[:,1,2]))+0.
    xr.testing.assert_identical(*(evidence(random_state=s, loss=loss).fit(X, y).coef_ for s in (0, 7)))

@pytest.mark.parametrize('n', [2, 3, 4, 7])
def test_fewer_samples_than_folds(n):
    rng = np.random.default_rng(n); X = rng.normal(size=(n,5,6))
    m = evidence().fit(X, rng.normal(size=n))
    p,s = m.predict(X, return_std=True)
    assert np.isfinite(p).all() and np.isfinite(s).all() and (s>0).all() and np.isfinite(m.coef_std_).all()

def test_constant_target():
    X = np.random.default_rng(0).normal(size=(30,5,6))
    m = evidence().fit(X, np.full(30, 4.))
    p,s = m.predict(X, return_std=True)
    np.testing.assert_allclose(p, 4., atol=1e-6); assert np.abs(m.coef_).max()<1e-6 and np.isfinite(s).all()

def test_rows_that_repeat():
    rng = np.random.default_rng(0); X = rng.normal(size=(40,5,6)); y = X[:,2,3]+rng.normal(size=40)/10
    m = evidence().fit(np.r_[X,X,X], np.r_[y,y,y]); assert m.score(X, y)>.9 and np.isfinite(m.coef_std_).all()

def test_a_feature_that_is_zero():
    rng = np.random.default_rng(0); X = rng.normal(size=(80,2,5,6))
    X[:,1] = 0
    y = X[:,0,2,3]+rng.normal(size=80)/10
    m = evidence().fit(X, y)
    assert m.score(X, y)>.9 and np.isfinite(m.coef_).all()
    assert np.abs(evidence().fit(0*X, y).coef_).max()<1e-6

def test_no_signal_no_map():
    rng = np.random.default_rng(1); r2 = []
    for _ in range(5):
        X,y = rng.normal(size=(160,6,8)),rng.normal(size=160)
        r2.append(evidence().fit(X[:80], y[:80]).score(X[80:], y[80:]))
    assert min(r2)>-.15 and np.mean(r2)>-.06

@pytest.mark.parametrize('case', ['events', 'nonnegative', 'window', 'window words', 'groups', 'std of sgd'])
def test_refused(months, case):
    d,y,_ = months
    def refused(kind, text, f):
        with pytest.raises(kind, match=text): f()
    if case=='events':
        e = EventDesign(dict(player=torch.arange(30)%3, court=torch.arange(30)%20),
                        [Mode('player', 3, indexed=True), Mode('court', 20, Grid((4,5)), True)])
        refused(ConfigError, 'for fields', lambda: evidence().fit(e, np.arange(30.)))
    if case=='nonnegative': refused(ConfigError, 'nonnegative', lambda: evidence(nonnegative=('lead',)).fit(d, y))
    if case=='window': refused(ConfigError, 'whole number', lambda: evidence(window=0).fit(d, y))
    if case=='window words': refused(ConfigError, 'whole number', lambda: evidence(window='3').fit(d, y))
    if case=='groups': refused(DataError, 'groups', lambda: evidence().fit(d, y, groups=[1,2]))
    if case=='std of sgd':
        m = MRTLRegressor(rank=1, max_epochs=2).fit(d, y)
        refused(ConfigError, "method='evidence'", lambda: m.predict(d, return_std=True))
        refused(AbsentError, "method='evidence'", lambda: m.coef_std_)

def test_sums_need_their_window(months):
    d,*_ = months; noise = np.random.default_rng(3).normal(size=len(d)+2); y = noise[2:]+noise[1:-1]+noise[:-2]
    with pytest.raises(DataError, match='window'): evidence().fit(d, y)
    assert np.isfinite(evidence(window=3).fit(d, y).predict(d)).all()

@pytest.mark.parametrize('seed', range(4, 8))
def test_overlapping_noise_is_no_signal(months, seed):
    "Sums of noise: told of the overlap, the fit finds nothing (seed 5 follows the noise if told otherwise)."
    d,*_ = months; noise = np.random.default_rng(seed).normal(size=len(d)+2); y = noise[2:]+noise[1:-1]+noise[:-2]
    assert evidence(window=3).fit(d, y).score(d, y)<.05

@pytest.mark.parametrize('sphere', [False, True])
def test_land(sphere):
    rng = np.random.default_rng(0)
    names = ('lat','lon') if sphere else ('y','x')
    X = xr.DataArray(rng.normal(size=(120,2,7,9)), dims=('time','variable',*names),
                     coords={names[0]: np.linspace(-60, 60, 7), names[1]: np.linspace(20, 340, 9)}).copy()
    X[:,:,:2,:4] = np.nan
    y = np.nan_to_num(X.values)[:,0,3:5,4:7].sum((1,2))+rng.normal(size=120)
    m = evidence().fit(X, y)
    assert (m.coef_.isnull()[:,:2,:4].all() and m.coef_std_.isnull()[:,:2,:4].all()
            and int(m.coef_.isnull().sum())==16 and m.score(X, y)>.5)
    np.testing.assert_allclose(m.predict(X.fillna(1e3)), m.predict(X))

def test_missing_targets_and_weights(months):
    d,y = months[0].take(np.arange(150)),months[1][:150]
    one = evidence().fit(d.take(np.arange(40, len(y))), -y[40:])
    Y = np.stack([y, -y], 1); Y[:40,1] = np.nan
    m = evidence().fit(d, Y)
    assert np.corrcoef(m.coef_.values[...,1].ravel(), one.coef_.values.ravel())[0,1]>.9999
    w = np.ones(len(y)); w[:40] = 0
    np.testing.assert_allclose(evidence().fit(d, -y, sample_weight=w).predict(d), one.predict(d), atol=1e-6)
    alone = evidence().fit(d, y)
    np.testing.assert_allclose(evidence().fit(d, y, sample_weight=np.full(len(y), 7.)).predict(d),
                               alone.predict(d), atol=1e-8)
    # two outputs share their components
    np.testing.assert_allclose(m.coef_.values[...,0], alone.coef_.values, atol=1e-4*float(np.abs(m.coef_).max()))

def test_files(fitted, months, tmp_path):
    d = months[0]; fitted.save(tmp_path/'a.mrtl'); again = MRTLRegressor.load(tmp_path/'a.mrtl')
    np.testing.assert_array_equal(again.predict(d), fitted.predict(d))
    np.testing.assert_allclose(again.predict(d, return_std=True)[1], fitted.predict(d, return_std=True)[1], rtol=1e-10)
    xr.testing.assert_identical(again.factors_, fitted.factors_)
    xr.testing.assert_allclose(again.coef_std_, fitted.coef_std_)
    assert again.levels_==fitted.levels_

def test_a_refit_by_gradients_forgets_the_evidence(fitted, months):
    m = deepcopy(fitted).set_params(method='sgd', rank=1, max_epochs=2).fit(*months[:2])
    with pytest.raises(AbsentError): m.coef_std_
    assert m.factors_.sizes['component']==m.rank_==1

@pytest.mark.parametrize('shape', [(1,1), (1,40), (2,3), (30,1), (5,60), (20,40), (80,180)])
def test_lengths_suit_the_grid(shape):
    l = ladder_lengths(Grid(shape)); assert all(1<=v<=max(shape) for v in l) and l==sorted(l, reverse=True)
    for v in (l[0], l[-1]): assert all(b.shape[1]<=n for b,n in zip(kernel_modes(Grid(shape), v), shape))

@pytest.mark.parametrize('length', [.3, 41., -1.])
def test_lengths_outside_the_grid(length):
    with pytest.raises(ConfigError, match='in cells'): kernel_modes(Grid((20,40)), length)

@pytest.mark.parametrize('leads', [1, 3])
@pytest.mark.parametrize('features', [1, 2])
@pytest.mark.parametrize('kind', ['apart', 'lagged', 'free'])
def test_evidence_rises_with_every_fit(leads, features, kind):
    g = torch.Generator().manual_seed(0)
    u = torch.randn(63, features, 6, 7, generator=g, dtype=torch.float64)
    at = torch.arange(3, 63)[:,None]-torch.arange(1, leads+1)
    rows = feature_rows(at, features)
    y = u.flatten(0, 1)[rows[:,0]][:,2:4,2:5].sum((1,2))
    y = (y+torch.randn(60, generator=g, dtype=torch.float64))
    y = (y-y.mean())/y.std()
    data,S,p = MapData(u, rows, y, Grid((6,7))),torch.ones(6, 7,
            dtype=torch.float64),FeaturePrior(leads, features, kind)
    short,long = (climb(data, p, [2.], S, steps=(n,0))[0] for n in (2,40))
    assert long.value<short.value-(.1 if leads*features>1 else -1e-9)
    data.likelihood.settle(long, data)
    assert (map_variance(long, rows)<=long.parts[0].Sigma.diagonal()[:,None,None]*1.01).all()

def test_one_cell_wide_kernels_close_the_circle():
    B = axis_modes(np.arange(0, 360, 10.), 30., 1e-12, 360.)
    K = (B@B.T).numpy()
    assert np.allclose(K, np.roll(K, (5,5), (0,1)), atol=1e-9) and K[0,35]==pytest.approx(K[0,1])

def test_outputs_are_fitted_each_by_itself():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(150,2,6,8))*4+300
    y = X[:,0,1:4,2:5].sum((1,2))
    y = (y-y.mean())/y.std()+.5*rng.normal(size=150)
    two,one = evidence().fit(X, np.stack([y+50, -3*y], 1)),evidence().fit(X, y+50)
    p,s = two.predict(X, return_std=True)
    np.testing.assert_allclose(p[:,0], one.predict(X), atol=1e-6)
    np.testing.assert_allclose(p[:,1], -3*(p[:,0]-50), atol=1e-6)
    np.testing.assert_allclose(s[:,1], 3*s[:,0], rtol=1e-6)

@pytest.mark.parametrize('name,used', [('maps', True), ('a default given', True), ('l2', False),
                                       ('schedule', False), ('valid share', False), ('poisson', False),
                                       ('two outputs', False), ('many samples', False), ('validation data', False),
                                       ('callbacks', False), ('one row of cells', False), ('sgd', False)])
def test_auto_is_evidence_where_nobody_asked_for_gradients(months, name, used, monkeypatch):
    d,y,_ = months; d,y = d.take(torch.arange(60)),y[:60]; kw,fit = dict(max_epochs=2, optimizer='adamw'),{}
    monkeypatch.setattr('mrtl.ways.MOST_SECONDS', 1e-6 if name=='many samples' else 60.)
    # two epochs are enough here
    real = mrtl.ways.all_default
    monkeypatch.setattr('mrtl.ways.all_default', lambda o: real(replace(o, max_epochs=200, optimizer='auto')))
    if name=='a default given': kw |= dict(l2=1e-3, nonnegative=(), schedule=None)
    if name=='l2': kw['l2'] = 2e-3
    if name=='schedule': kw['schedule'] = [(4,6),(8,12)]
    if name=='valid share': kw['valid'] = .3
    if name=='poisson': kw['loss'],y = 'poisson',np.exp(y/3)
    if name=='two outputs': y = np.stack([y, -y], 1)
    if name=='validation data': fit['valid'] = d,y
    if name=='callbacks': from mrtl.training import Callback; fit['callbacks'] = [Callback()]
    if name=='one row of cells': d = np.random.default_rng(0).normal(size=(60, 7))
    if name=='sgd': kw['method'] = 'sgd'
    m = MRTLRegressor(**kw).fit(d, y, **fit)
    assert (m.method_=='evidence')==used==isinstance(m.fitted_, EvidenceFit)

def test_auto_leaves_wrong_settings_to_their_own_errors(months):
    with pytest.raises(ScheduleError, match='list of shapes'):
        MRTLRegressor(schedule=np.array([[4,6],[8,12]])).fit(*months[:2])

def test_a_fold_makes_its_own_amplitudes(months):
    d,y,_ = months
    u,at,y = d.u.flatten(1, -3),d.batch().at,torch.from_numpy((y-y.mean())/y.std())
    data = MapData(u, feature_rows(at, u.shape[1]), y, d.grid)
    fit = fit_maps(data)
    folds = [(torch.arange(60, len(y)), torch.arange(50))]
    P = held_out(fit.levels, data, folds); assert P[:50].isfinite().all() and P[50:].isnan().all()
    for l in fit.levels[1:]:
        for p in l.parts: p.Z,p.c = None,None # found with the fold's samples, so not to be read
        if not l.components: l.parts[0].S = 1-l.parts[0].S/l.parts[0].S.max()
        l.maps = None
    np.testing.assert_array_equal(held_out(fit.levels, data, folds), P)
    other = y.clone(); other[:50] = 9
    np.testing.assert_array_equal(held_out(fit.levels, MapData(u, fit.rows, other, d.grid), folds), P)

@pytest.fixture(scope='module')
def plain(months):
    "A first level with its posterior, and what it learnt from."
    d,y,_ = months
    u,at = d.u.flatten(1, -3),d.batch().at
    y = torch.from_numpy((y-y.mean())/y.std())
    data = MapData(u, feature_rows(at, u.shape[1]), y, d.grid)
    level,_ = climb(data, FeaturePrior(2, 2, 'lagged'), [2.5], torch.ones(d.grid.shape, dtype=torch.float64))
    return data.likelihood.settle(level, data),data

def test_components_raise_the_evidence_with_their_lengths_and_sizes(plain):
    "Of all lengths that a component may have, none alone is better; no size is better than the one found."
    level,data = plain
    u,rows,y,C,grid = data.u,data.rows,data.y,data.likelihood.C,data.grid
    found = component_level(level, data); n = len(y)
    def value(parts, s2):
        K = 10+s2*C+sum(sample_kernel(project(u, p.S, kernel_modes(grid, p.length)), rows, p.Sigma) for p in parts)
        return float(y@torch.linalg.solve(K, y)+torch.logdet(K)+n*np.log(2*np.pi))/2
    assert value(found.parts, found.s2)==pytest.approx(found.value, abs=1e-6)
    for r,p in enumerate(found.parts):
        for change in (dict(Sigma=1.2*p.Sigma), dict(Sigma=p.Sigma/1.2),
                       *(dict(length=k*2.5) for k in (.7, 1, 1.4) if p.length!=k*2.5)):
            assert value([Part(q.length, q.S, q.Sigma) if k!=r
                          else Part(**dict(length=p.length, S=p.S, Sigma=p.Sigma)|change)
                          for k,q in enumerate(found.parts)], found.s2)>found.value-.06
        assert torch.linalg.matrix_rank(p.Sigma)==1 and p.length/2.5==pytest.approx(1., abs=.41)

def test_components_made_again_from_the_same_maps_are_the_same(plain):
    level,data = plain; found = component_level(level, data); again = remake(found, level, data.grid)
    for p,q in zip(found.parts, again.parts):
        assert p.length==q.length
        torch.testing.assert_close(q.S, p.S)
        torch.testing.assert_close(q.Sigma, p.Sigma)

def test_components_are_matched_whatever_their_order():
    "Two blobs whose strength, and so whose order, changes from one set of samples to another."
    grid = Grid((8,12)); i,j = np.mgrid[:8,:12]
    a,b = (torch.from_numpy(np.exp(-((i-p)**2+(j-q)**2)/4.)) for p,q in ((2,3),(5,9)))
    mix = lambda s,t: torch.stack([s*a, t*b, s*a/2])
    share = grid.share.flatten().to(a)
    A,V = split_maps(mix(3., 1.).flatten(1), share, 4, .9999)
    S = [amplitude(v.view(1, 8, 12), grid, 2.) for v in V.T]
    level = MapLevel([Part(l, s, torch.outer(k, k)) for l,s,k in zip((2., 3.), S, A.T)], torch.zeros(2), .5, 0., True)
    for maps in (mix(3., 1.), mix(1., 3.), -mix(1., 3.)):
        for p,q in zip(level.parts, remake(level,
                                           MapLevel([Part(2., None, None)], None, .5, 0., maps=maps), grid).parts):
            assert q.length==p.length and float((p.S*q.S).mean())>.95 and torch.allclose(q.Sigma, p.Sigma,
                    atol=.02*float(p.Sigma.max()))

def test_designs_know_their_window(months):
    "What climate_problem knows of its sums arrives in the fit, through every way of making a new design."
    d,*_ = months; noise = np.random.default_rng(3).normal(size=len(d)+2); y = noise[2:]+noise[1:-1]+noise[:-2]
    known = FieldDesign(d.u, d.grid, d.names, d.labels, d.leads, d.rows, True, window=3)
    assert [k.window for k in (known.take([0, 1]), known.standardise(*known.moments()), known.at((4,6)),
                               known.to('cpu'))]==[3]*4
    xr.testing.assert_identical(evidence().fit(known, y).coef_, evidence(window=3).fit(d, y).coef_)
    with pytest.raises(ConfigError, match='add up 3 times'): evidence(window=1).fit(known, y)
    with pytest.raises(ConfigError, match='share times'): evidence(loss='poisson').fit(known, np.round(y**2))

# ---- coasts

def bridged():
    "Two seas and what was seen of them; only the western one matters."
    mask = torch.ones(8, 13, dtype=torch.bool)
    mask[:,6] = False; grid = Grid((8,13), mask=mask)
    rng = np.random.default_rng(0)
    u = torch.from_numpy(rng.normal(size=(150,1,8,13)))*mask
    y = u[:,0,2:6,3:6].sum((1, 2))+torch.from_numpy(rng.normal(size=150)); return grid,u,(y-y.mean())/y.std()

@pytest.mark.parametrize('length', [1., 3., 12.])
def test_maps_do_not_cross_land(length):
    "The two seas know nothing of each other, whatever the length; with a gap in the bridge they do."
    grid = bridged()[0]
    both = lambda g: (lambda K: float(K[:,:6,:,7:].abs().max()))((lambda B: (B@B.T).view(8, 13, 8,
            13))(coast_modes(g, length, 1e-10)))
    gap = grid.mask.clone(); gap[3:5,6] = True; assert both(grid)<1e-9 and both(Grid((8,13), mask=gap))>.1

def test_posterior_over_land_is_the_primal():
    grid,u,y = bridged()
    S = torch.rand(8, 13, dtype=torch.float64, generator=torch.Generator().manual_seed(0))*grid.mask
    rows = feature_rows(torch.arange(150), 1)
    data = MapData(u, rows, y, grid, keep=1e-12)
    level = data.likelihood.settle(MapLevel([Part(2., S, torch.eye(1, dtype=torch.float64)*30)], None, .5, 0.), data)
    B = coast_modes(grid, 2., 1e-12)
    prior = 30*S.flatten()[:,None]*(B@B.T)*S.flatten()
    X = u.flatten(1)
    K = X@prior@X.T+.5*torch.eye(150)+10
    torch.testing.assert_close(level.maps.flatten(), prior@X.T@torch.linalg.solve(K, y), rtol=1e-6, atol=1e-8)
    torch.testing.assert_close(map_variance(level, rows).flatten(),
                               (prior-prior@X.T@torch.linalg.solve(K, X@prior)).diagonal().clamp(min=0), rtol=1e-6,
                               atol=1e-8)

@pytest.mark.parametrize('circle', [False, True])
def test_heat_goes_around_the_globe(circle):
    mask = torch.ones(6, 24, dtype=torch.bool)
    mask[0,12] = False
    grid = Grid((6,24), (-30,30), (0,360 if circle else 300), ('lat','lon'), sphere=True, mask=mask)
    B = coast_modes(grid, 3.); K = (B@B.T).view(6, 24, 6, 24)
    assert (K[3,0,3,23]>.8) if circle else (K[3,0,3,23]<1e-3)
    torch.testing.assert_close(B.pow(2).sum(1), mask.flatten().double())

def test_a_model_with_land_survives_its_file(tmp_path):
    grid,u,y = bridged(); d = FieldDesign(u, grid)
    m = evidence().fit(d, y.numpy()); m.save(tmp_path/'m.mrtl')
    again = MRTLRegressor.load(tmp_path/'m.mrtl')
    np.testing.assert_allclose(again.predict(d, return_std=True)[1], m.predict(d, return_std=True)[1], rtol=1e-10)
    xr.testing.assert_allclose(again.coef_std_, m.coef_std_)

def test_many_cells_keep_the_plain_kernel(monkeypatch):
    grid = bridged()[0]
    monkeypatch.setattr('mrtl.evidence.prior.MOST_CELLS', 95)
    assert len(kernel_modes(grid, 2.))==2
    monkeypatch.setattr('mrtl.evidence.prior.MOST_CELLS', 96)
    assert len(kernel_modes(grid, 2.))==1

@pytest.mark.parametrize('good', [1, 2, 3])
def test_the_last_good_level_is_kept(months, monkeypatch, good):
    "Where a later round has no finite evidence, the fit goes on with what it has, and says so."
    d,y,_ = months
    bad = lambda f: lambda *a, **k: (lambda l: setattr(l, 'value', np.inf) or l)(f(*a, **k))
    rounds = [0]
    adapt,parts = evidence_fit._adapt,evidence_fit.component_level
    def maybe(f):
        def g(*a, **k): rounds[0] += 1; return bad(f)(*a, **k) if rounds[0]==good else f(*a, **k)
        return g
    monkeypatch.setattr(evidence_fit, '_adapt', maybe(adapt))
    monkeypatch.setattr(evidence_fit, 'component_level', maybe(parts))
    with pytest.warns(UserWarning, match=f'not finite after {good-1} rounds: the last good level is kept'):
        m = evidence().fit(d, y)
    assert len(m.levels_)==good and np.isfinite(m.predict(d)).all() and m.score(d, y)>.5

def test_jitter_is_reported(plain):
    "A Gram matrix of repeated rows without noise is singular: the smallest jitter that helps is added, and told."
    level,data = plain
    again = torch.arange(40).repeat(3)
    data = MapData(data.u, data.rows[again], data.y[again], data.grid)
    found = data.likelihood.settle(MapLevel([Part(p.length, p.S, p.Sigma) for p in level.parts], None, 0., 0.), data)
    assert 0<found.jitter<1e-4*float(found.L.pow(2).sum(1).mean()) and found.maps.isfinite().all() and level.jitter==0

@pytest.mark.parametrize('offset', [0., 20., 300.])
def test_fields_far_from_zero(months, offset):
    "In single precision, with a mean of so many standard deviations: the same predictions, without a copy or with one."
    d,y,_ = months
    near,far = (FieldDesign(torch.where(d.grid.mask, d.u/d.grid.share.where(d.grid.mask, torch.ones(())),
                                        0.).float()+k, d.grid, d.names, d.labels, d.leads, d.rows)
                for k in (0., offset*float(d.moments()[1].max())))
    a,b = evidence().fit(near, y),evidence().fit(far, y)
    np.testing.assert_allclose(b.predict(far), a.predict(near), atol=2e-3)
    assert np.corrcoef(a.coef_.values.ravel(), b.coef_.values.ravel())[0,1]>.9999

@pytest.mark.parametrize('shape,keep', [((40,99), 1e-4), ((40,100), 1e-3), ((1,4000), 1e-3)])
def test_one_rule_for_what_is_dropped(shape, keep):
    d = MapData(torch.zeros(3, 1, *shape), torch.arange(3)[:,None], torch.zeros(3), Grid(shape))
    assert d.keep==d.take(torch.tensor([0, 2])).keep==keep and MapData(d.u, d.rows, d.y, d.grid,
            keep=.5).take(torch.tensor([1])).keep==.5

def test_a_part_of_the_data_has_its_part_of_the_noise():
    g = torch.Generator().manual_seed(0)
    A = torch.randn(6, 6, generator=g, dtype=torch.float64)
    data = MapData(torch.zeros(9, 2, 3, 4), feature_rows(torch.arange(2, 8)[:,None]-torch.arange(3), 2),
                   torch.arange(6.), Grid((3,4)), Gaussian(A@A.T))
    for fold in (torch.tensor([4, 1]), torch.arange(6)>3):
        part = data.take(fold)
        assert torch.equal(part.likelihood.C, (A@A.T)[fold][:,fold]) and torch.equal(part.rows,
                data.rows[fold]) and torch.equal(part.y, data.y[fold]) and part.u is data.u
    assert data.leads==3 and data.y.dtype==torch.float64

def test_a_model_without_any_map_survives_its_file(tmp_path):
    "No level has weight; the file keeps one, so that there still are intervals."
    rng = np.random.default_rng(0); X = rng.normal(size=(3,5,6))
    m = evidence().fit(X, rng.normal(size=3))
    assert sum(l['weight'] for l in m.levels_)==0
    m.save(tmp_path/'m.mrtl')
    again = MRTLRegressor.load(tmp_path/'m.mrtl')
    np.testing.assert_array_equal(again.predict(X, return_std=True), m.predict(X, return_std=True))
    xr.testing.assert_identical(again.coef_std_, m.coef_std_)

@pytest.mark.parametrize('outputs', [1, 3])
def test_variances_of_scores_and_of_noise_make_those_of_observations(outputs):
    rng = np.random.default_rng(0); X = rng.normal(size=(120,1,6,8))
    s = X[:,0,1:4,2:5].sum((1,2))
    Y = s[:,None]*np.arange(1, outputs+1)+rng.normal(size=(120, outputs))*2
    m = evidence().fit(X, Y).fitted_.model
    d = FieldDesign(torch.from_numpy(X), Grid((6,8)))
    assert m.loss=='squared'; v = m.score_variances(d)
    np.testing.assert_allclose(v+m.noise(), m.predict_std(d)**2)
    assert (v>0).all() and (2<m.noise()).all() and (m.noise()<Y.var(0)).all() and (outputs>1
            or m.noise()[0]==pytest.approx(4, rel=.3))
    again = EvidenceModel.unpack(*m.pack(), m.full.modes)
    np.testing.assert_allclose(again.score_variances(d), v, rtol=1e-8, atol=1e-10)
    assert again.history(range(outputs))==m.history(range(outputs))
