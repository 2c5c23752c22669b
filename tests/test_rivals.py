"""Grids of cases for `mrtl.rivals`: each rival against scikit-learn, tensorly or the dense formula, on small
made-up data; nothing learnt from held-back rows; gaps in single outputs."""
import json
from dataclasses import replace
from functools import cache
import numpy as np, pandas as pd, pytest, torch, xarray as xr
from sklearn.decomposition import PCA
from sklearn.linear_model import LinearRegression, Ridge
from tensorly.regression import CPRegressor
from mrtl.designs import FieldDesign
from mrtl.climate.prepare import climate_problem
from mrtl.core import ConfigError, DataError
from mrtl.estimators import MRTLRegressor
from mrtl.climate.fields import box_mean
from mrtl.grids import Grid
from mrtl.rivals import (known_rows, laplacian, time_gram, ridge_path, skill, smooth_gram, tensor_inputs,
                         trained_ways, window_gram)
from mrtl.climate.model import CLIMATE_RIVALS, baselines, climate_options, compare_rivals, nino34
from mrtl.climate.prepare import skill_by_season
import test_climate
from test_climate import SETS, make_ocean, months

def make_rain(*args, **kw):
    "Rain that stays above zero when signals are added."
    r = test_climate.make_rain(*args, **kw)
    return (r+3).assign_attrs(r.attrs)

RULES = CLIMATE_RIVALS[:4]
QUICK = dict(ranks=(1, 2), penalties=(.06,), starts=1)

def cells(p):
    "Anomalies of the valid cells and their shares, (T, variable, m) and (m,), straight from the stored fields."
    ok = p.design.grid.mask.numpy(); v = p.design.grid.share.numpy()[ok]
    return p.design.u.double().numpy()[..., ok]/v,v

def windows(F, p): return np.stack([F[p.starts-l] for l in range(1, p.design.leads+1)], 1).reshape(len(p.times), -1)

# ---- scores

@pytest.mark.parametrize('shape', [(50,), (50, 3)])
def test_skill(shape):
    rng = np.random.default_rng(0); y,f = rng.normal(size=shape),rng.normal(size=shape)*.3; s = skill(y, f)
    np.testing.assert_allclose(s['r2'], np.mean(1-((y-f)**2).sum(0)/(y**2).sum(0)))
    np.testing.assert_allclose([s['mse'], s['mae']], [((y-f)**2).mean(), abs(y-f).mean()])
    y.flat[::7] = np.nan; ok = np.isfinite(y); np.testing.assert_allclose(skill(y, f)['mse'], ((y-f)[ok]**2).mean())
    assert skill(0*f, 0*f)['r2'] == 1. and skill(0*f, f)['r2'] == 0.
    with pytest.raises(DataError, match='no observed target'): skill(y*np.nan, f)

def test_an_output_never_observed_has_no_score():
    rng = np.random.default_rng(0)
    y,f = rng.normal(size=(50, 3)),rng.normal(size=(50, 3))*.3
    y[:, 1] = np.nan; s = skill(y, f)
    assert np.isnan(s['r2_by_output'][1]) and s['r2'] == pytest.approx(np.mean([skill(y[:, j],
            f[:, j])['r2'] for j in (0, 2)]))

@pytest.mark.parametrize('window,start_to_season',
                         [(1, {1: 'DJF', 2: 'DJF', 3: 'MAM', 6: 'JJA', 8: 'JJA', 9: 'SON', 11: 'SON', 12: 'DJF'}),
                          (2, {2: 'DJF', 3: 'MAM', 11: 'SON'}),
                          (3, {11: 'DJF', 1: 'DJF', 2: 'MAM', 8: 'SON', 10: 'SON'}), (12, {1: 'JJA', 7: 'DJF'})])
def test_seasons(window, start_to_season):
    rng = np.random.default_rng(0); times = months(120)
    y,f = rng.normal(size=(120, 2)),rng.normal(size=(120, 2))
    got = skill_by_season(y, f, times, window)
    assert list(got) == ['DJF', 'MAM', 'JJA', 'SON'] and [s['n'] for s in got.values()] == [30]*4
    for m,season in start_to_season.items():
        assert list(skill_by_season(y[m-1::12], f[m-1::12], times[m-1::12], window)) == [season]
    middle = np.array([(m+(window-1)//2)%12 for m in range(120)]); winter = np.isin(middle, [11, 0, 1])
    assert got['DJF']['r2'] == skill(y[winter], f[winter])['r2']
    y[winter] = np.nan; assert list(skill_by_season(y, f, times, window)) == ['MAM', 'JJA', 'SON']

# ---- ridges

@pytest.mark.parametrize('outputs', [1, 3])
@pytest.mark.parametrize('n,D', [(40, 10), (40, 200)])
def test_ridge_path_equals_sklearn(outputs, n, D):
    rng = np.random.default_rng(0)
    X,y = rng.normal(size=(n, D)),rng.normal(size=(n, outputs))
    train = np.arange(25); alphas = [.1, 10., 1e4]
    for a,f in zip(alphas, ridge_path(X@X.T, y, train, alphas)):
        np.testing.assert_allclose(f, Ridge(alpha=a).fit(X[train], y[train]).predict(X).reshape(n, -1), atol=1e-9)

def test_ridge_without_penalty_is_least_squares():
    rng = np.random.default_rng(0); X,y = rng.normal(size=(40, 3)),rng.normal(size=(40, 1)); train = np.arange(25)
    np.testing.assert_allclose(ridge_path(X@X.T, y, train, [0.])[0],
                               LinearRegression().fit(X[train], y[train]).predict(X), atol=1e-8)

def test_window_gram():
    F = np.random.default_rng(0).normal(size=(30, 7))
    starts = np.array([5, 9, 30])
    Z = np.stack([F[starts-l] for l in range(1, 6)], 1).reshape(3, -1)
    np.testing.assert_allclose(window_gram(F@F.T, starts, 5), Z@Z.T)

@pytest.mark.parametrize('block', [1, 5, 4096])
@pytest.mark.parametrize('land', [(), [(0, 0), (2, 3)]])
@pytest.mark.parametrize('features', [0, 1, 2])
def test_time_gram(block, land, features):
    rng = np.random.default_rng(0); mask = np.ones((4, 6), bool)
    for i,j in land: mask[i, j] = False
    g = Grid((4, 6), y=(-20, 20), x=(180, 240), sphere=True, mask=mask)
    x = rng.normal(size=(30, *(2, 3)[:features], 4, 6))
    d = FieldDesign(torch.from_numpy(x), g)
    np.testing.assert_allclose(time_gram(d, block), np.einsum('tfi,sfi,i->ts', *[x.reshape(30, -1, 24)]*2,
            g.share.numpy().ravel()), atol=1e-12)

def test_the_fields_are_never_copied_in_double(monkeypatch):
    "No conversion to float64 reaches a quarter of the stored fields."
    d = FieldDesign(torch.randn(200, 2, 20, 30), Grid((20, 30), y=(-20, 20), x=(180, 240), sphere=True))
    big,plain = [],torch.Tensor.double
    monkeypatch.setattr(torch.Tensor, 'double', lambda t: (big.append(t.numel()), plain(t))[1])
    time_gram(d, block=64); smooth_gram(d, 10., block=16)
    assert 0 < max(big) < d.u.numel()/4

# ---- the smooth prior

@pytest.mark.parametrize('sphere', [False, True])
def test_laplacian_by_loops(sphere):
    rng = np.random.default_rng(0); mask = rng.random((5, 7)) > .3
    g = Grid((5, 7), y=(-25., 35.), x=(180., 250.), sphere=sphere, mask=mask)
    L = laplacian(g).toarray(); b = rng.normal(size=(5, 7))
    dy,dx = 12.,10.; cos = lambda y: np.cos(np.deg2rad(y)) if sphere else 1.
    total = sum(mask[i, j]*dx*(np.rad2deg(np.sin(np.deg2rad(-25+12*(i+1)))-np.sin(np.deg2rad(-25+12*i))) if sphere
                               else dy) for i in range(5) for j in range(7))
    want = 0.
    for i in range(5):
        for j in range(7):
            if j < 6 and mask[i, j] and mask[i, j+1]: want += dy/(dx*cos(-19+12*i))*(b[i, j]-b[i, j+1])**2
            if i < 4 and mask[i, j] and mask[i+1, j]: want += dx*cos(-13+12*i)/dy*(b[i, j]-b[i+1, j])**2
    np.testing.assert_allclose(b[mask]@L@b[mask], want/total, rtol=1e-12)
    np.testing.assert_allclose(L, L.T)
    np.testing.assert_allclose(L.sum(0), 0, atol=1e-15)

def test_a_globe_is_joined_at_its_seam():
    ring = laplacian(Grid((1, 6), y=(-5, 5), x=(0, 360), sphere=True)).toarray()
    arc = laplacian(Grid((1, 6), y=(-5, 5), x=(0, 350), sphere=True)).toarray()
    assert ring[0, 5] == pytest.approx(ring[0, 1]) and ring[0, 1] < 0 and arc[0, 5] == 0

def test_a_wall_cuts_the_prior():
    mask = np.ones((5, 9), bool); mask[:, 4] = False
    g = Grid((5, 9), mask=mask); x = torch.zeros(2, 5, 9)
    x[0, :, 3] = 1; x[1, :, 5] = 1
    assert abs(smooth_gram(FieldDesign(x, g), 3.)[0, 1]) < 1e-15
    x[1] = 0; x[1, :, 2] = 1; G = smooth_gram(FieldDesign(x, g), 3.); assert G[0, 1] > .5*G[0, 0] > 0

def test_the_length_means_the_same_on_a_finer_grid():
    def cover(f):
        g = Grid((6*f, 12*f), y=(-30, 30), x=(160, 280), sphere=True)
        x = torch.zeros(3, 6*f, 12*f, dtype=torch.float64)
        for t,(i,j) in enumerate(((2, 5), (3, 6), (4, 9))): x[t, i*f:(i+1)*f, j*f:(j+1)*f] = 1
        G = smooth_gram(FieldDesign(x, g), 20.); s = np.sqrt(np.diag(G)); return G/s/s[:, None]
    np.testing.assert_allclose(cover(2), cover(6), atol=.03)
    assert .7 < cover(2)[0, 1] < .9 and .2 < cover(2)[0, 2] < .4

@pytest.mark.parametrize('length,block', [(0., 7), (5., 3), (30., 200)])
@pytest.mark.parametrize('outputs', [False, True])
def test_laplacian_ridge_equals_the_dense_prior(length, block, outputs):
    p = climate_problem(make_ocean(240, land=[(0, 0), (1, 1), (1, 2)]), make_rain(), region='AZ',
                        by='division' if outputs else None, leads=2, block=20)
    y = p.y.values.reshape(len(p.times), -1)
    tr = p.rows['train']
    x,v = cells(p)
    M = np.diag(v)+length**2*laplacian(p.design.grid).toarray()
    Q = np.kron(np.eye(4), M@np.diag(1/v)@M)
    U = windows(x*v, p)
    X,Y = U[tr]-U[tr].mean(0),y[tr]-y[tr].mean(0)
    for a,f in zip([.3, 30.], ridge_path(window_gram(smooth_gram(p.design, length, block), p.starts,
            2), y, tr, [.3, 30.])):
        np.testing.assert_allclose(f, y[tr].mean(0)+(U-U[tr].mean(0))@np.linalg.solve(X.T@X+a*Q, X.T@Y), atol=1e-7)

# ---- all baselines

def best(p, candidates):
    "The validation error and test R2 of the best of many predictions."
    y = p.y.values.reshape(len(p.times), -1)
    sd = np.nanstd(y[p.rows['train']], 0)
    va,te = p.rows['valid'],p.rows['test']
    return min((skill(y[va]/sd, f[va]/sd)['mse'], skill(y[va], f[va])['mse'], skill(y[te], f[te])['r2'])
               for f in candidates)[1:]

def ridges(p, F):
    "scikit-learn on windows written out, over the penalties of `baselines`."
    Z,y,tr = windows(F, p),p.y.values.reshape(len(p.times), -1),p.rows['train']; scale = (Z[tr]**2).sum(1).mean()
    return [Ridge(alpha=a).fit(Z[tr], y[tr]).predict(Z).reshape(y.shape) for a in 10.**np.arange(-4, 4.1, .5)*scale]

@pytest.mark.parametrize('kw',
                         [dict(region='AZ', leads=3, detrend=None),
                          dict(region='IA', by='division', leads=2, window=3, start_months=[1, 7])])
def test_baselines_equal_the_long_way(kw):
    ocean,rain = make_ocean(land=[(0, 0)], seed=4),make_rain(seed=5)
    rain[:, 1:] += ocean.sel(variable='sst')[:-1, 2, 1:4].mean('lon').values*.3
    p = climate_problem(ocean, rain, dtype=torch.float64, **kw)
    b = baselines(p, CLIMATE_RIVALS[:-1], eofs=(1, 3), lengths=(8.,))
    L,tr,te = kw['leads'],p.rows['train'],p.rows['test']
    y = p.y.values.reshape(len(p.times), -1)
    x,v = cells(p)
    F = (x*np.sqrt(v)).reshape(len(x), -1)
    seen = np.unique(p.starts[tr, None]-np.arange(1, L+1))
    # mirrored, so that nothing is centred away
    U = PCA(3, svd_solver='full').fit(np.r_[F[seen], -F[seen]]).components_
    M = np.diag(v)+8.**2*laplacian(p.design.grid).toarray(); half = np.linalg.cholesky(np.linalg.inv(M@np.diag(1/v)@M))
    long = dict(ridge=ridges(p, F), eof_ridge=[f for k in (1, 3) for f in ridges(p, F@U[:k].T)],
                laplacian_ridge=ridges(p, ((x*v)@half).reshape(len(x), -1)))
    for name,fs in long.items():
        np.testing.assert_allclose((b[name]['valid']['mse'], b[name]['test']['r2']), best(p, fs),
                                   rtol=1e-6, err_msg=name)
    index = box_mean(xr.DataArray(np.where(p.design.grid.mask, p.design.u[:, 0]/p.design.grid.share, np.nan),
                                  p.design.grid.coords(), ('time', 'lat', 'lon')), (-5, 5), (190, 240)).values
    z = np.mean([index[p.starts-l] for l in range(1, L+1)], 0)[:, None]
    np.testing.assert_allclose(nino34(p.design), index, rtol=1e-9)
    np.testing.assert_allclose(b['nino34']['test']['r2'],
                               skill(y[te], LinearRegression().fit(z[tr],
            y[tr]).predict(z[te]).reshape(len(te), -1))['r2'], rtol=1e-7)
    assert b['climatology']['test']['r2'] == 0. and b['climatology']['test']['mse'] == pytest.approx((y[te]**2).mean())

def test_no_nino_without_temperature_there():
    rain = make_rain(); p = climate_problem(make_ocean(variables=('slp', 'so')), rain, region='AZ')
    assert 'nino34' not in baselines(p) and 'nino34' not in baselines(climate_problem(make_ocean(lat0=20.), rain,
            region='AZ'), ['nino34', 'climatology'])
    assert 'nino34' in baselines(p, ['nino34'], sst='so')
    assert nino34(FieldDesign(torch.randn(9, 1, 4, 5), Grid((4, 5)), ('variable',), dict(variable=['sst']))) is None
    mostly_land = make_ocean(land=[(i, j) for i in range(4) for j in range(4)])
    assert nino34(climate_problem(mostly_land, rain, region='AZ').design) is None

@pytest.mark.parametrize('outputs', [False, True])
@pytest.mark.parametrize('limit,shape', [(512, (4, 6)), (23, (2, 3)), (5, (1, 2))])
def test_cp_is_tensorlys(outputs, limit, shape):
    rain = make_rain()
    p = climate_problem(make_ocean(land=[(0, 0)]), rain, region='AZ', by='division' if outputs else None, leads=2)
    tr = p.rows['train']; y = p.y.values
    X = tensor_inputs(p, limit)
    assert X.shape == (len(y), 2, 2, *shape)
    np.testing.assert_allclose([(X[tr]**2).mean(), abs(X[tr].mean(0)).max()], [1, 0], atol=1e-12)
    got = baselines(p, ['cp_regressor'], ranks=[2], penalties=[.01, .02], starts=2, cells=limit, seed=5)['cp_regressor']
    mean,sd = y[tr].mean(0),y[tr].std(0)
    with np.errstate(divide='ignore', invalid='ignore'):
        fits = [mean+sd*CPRegressor(2, tol=1e-4, reg_W=a*len(tr), n_iter_max=50, random_state=s,
                                    verbose=0).fit(X[tr], (y[tr]-mean)/sd).predict(X)
                for a in (.01, .02) for s in (5, 6)]
    np.testing.assert_allclose((got['valid']['mse'], got['test']['r2']),
                               best(p, [f.reshape(len(y), -1) for f in fits]), rtol=1e-9)
    assert (got['cells'], got['tried']) == (np.prod(shape), 4)

def test_the_best_start_is_kept():
    p = climate_problem(make_ocean(240), make_rain(), region='AZ', leads=2, block=20)
    run = lambda seed, starts: baselines(p, ['cp_regressor'], ranks=[2], penalties=[.01], starts=starts, cells=24,
                                         seed=seed)['cp_regressor']['valid']['mse']
    one = [run(s, 1) for s in range(5)]
    assert len(set(one)) == 5 and [run(s, 2) for s in range(4)] == [min(one[s:s+2]) for s in range(4)]

def test_inputs_of_the_tensor_regression_are_area_means():
    p = climate_problem(make_ocean(land=[(0, 0)]), make_rain(), region='AZ', leads=2)
    d = p.design.at((2, 3))
    x = d.u.double()/d.grid.share*d.grid.share.sqrt()
    W = x[torch.from_numpy(p.starts)[:, None]-torch.arange(1, 3)].numpy(); W -= W[p.rows['train']].mean(0)
    np.testing.assert_allclose(tensor_inputs(p, 10), W/np.sqrt((W[p.rows['train']]**2).mean()), rtol=1e-6, atol=1e-6)

# ---- gaps in single outputs

@cache
def whole():
    ocean,rain = make_ocean(seed=4),make_rain(seed=5)
    rain[:, 1:] += ocean.sel(variable='sst')[:-1, 2, 1:4].mean('lon').values*.3
    return climate_problem(ocean, rain, region='all', by='division', leads=2, split_seed=0, dtype=torch.float64)

def gappy(holes):
    p = replace(whole(), y=whole().y.copy())
    for output,part,which in holes: p.y[p.rows[part][which], output] = np.nan
    return p

HOLES = [(1, 'train', slice(0, 90)), (3, 'train', slice(50, 60)), (4, 'train', slice(50, 60)),
         (2, 'valid', slice(0, 20)), (0, 'test', slice(None, None, 3))]

def test_known_rows():
    p = gappy(HOLES); got = {tuple(o): len(r) for o,r in known_rows(p)}; n = len(p.rows['train'])
    assert got == {(0, 2): n, (1,): n-90, (3, 4): n-10} and all(np.isfinite(p.y.values[np.ix_(r, o)]).all()
            for o,r in known_rows(p))

@pytest.mark.parametrize('method', ['nino34', 'ridge', 'eof_ridge', 'laplacian_ridge', 'cp_regressor'])
def test_each_output_is_fitted_by_the_months_it_has(method):
    p = gappy(HOLES); one = dict(eofs=(3,), lengths=(10.,), ranks=(1,), penalties=(.02,), starts=1)
    with pytest.MonkeyPatch.context() as mp:
        # one penalty: the choice is not what is tested
        mp.setattr(np, 'arange', lambda *a, plain=np.arange, **k: np.zeros(1) if a == (-4, 4.1, .5) else plain(*a, **k))
        got = np.array(baselines(p, [method], **one)[method]['test']['r2_by_output'])
        for j in range(5):
            if method == 'cp_regressor' and j != 1: continue   # fits outputs with equal months as one tensor
            alone = gappy(HOLES); alone.y = alone.y[:, j:j+1]
            if method == 'cp_regressor': alone.y = alone.y[:, 0]
            rows = alone.rows
            keep = rows['train'][np.isfinite(alone.y.values[rows['train']]).reshape(len(rows['train']))]
            if method == 'nino34':
                z = np.mean([nino34(p.design)[p.starts-l] for l in (1, 2)], 0)[:, None]
                f = LinearRegression().fit(z[keep], alone.y.values[keep]).predict(z)
                want = skill(alone.y.values[rows['test']], f[rows['test']])['r2']
            else: want = baselines(alone, [method], **one)[method]['test']['r2']
            assert got[j] == pytest.approx(want, abs=1e-8), j

def test_gaps_everywhere_leave_finite_scores():
    p = gappy(HOLES)
    table,found = compare_rivals(p, CLIMATE_RIVALS, random=False, options=dict(rank=1, max_epochs=3), **QUICK)
    assert table.method.tolist() == ['MRTL',
                                     *CLIMATE_RIVALS] and np.isfinite(table[['valid',
            'test']].values).all() and all(np.isfinite(s['test']['r2_by_output']).all() for s in found.values())

@pytest.mark.parametrize('holes,text', [([(2, 'train', slice(None))], 'output 2 has none'),
                                        ([(j, 'train', slice(None)) for j in range(5)], 'output 0 has none')])
def test_output_without_training_months_refused(holes, text):
    with pytest.raises(DataError, match=text): baselines(gappy(holes))

def test_refusals():
    p = climate_problem(make_ocean(), make_rain(), region='AZ')
    with pytest.raises(ConfigError, match='methods must be from.*lasso'): baselines(p, ['ridge', 'lasso'])
    later = climate_problem(make_ocean(), leads=6, prep=(p.prep_x, p.prep_y))
    with pytest.raises(DataError, match='no training row'): baselines(later)

# ---- nothing leaks

@pytest.mark.parametrize('outputs', [False, True])
def test_test_rows_change_nothing(outputs):
    p,q = (climate_problem(make_ocean(seed=4), make_rain(seed=5), region='AZ', by='division' if outputs else None,
                           leads=2, split_seed=1) for _ in range(2))
    q.y[q.rows['test']] = 1e3
    seen = {int(t)-l for k in ('train', 'valid') for t in q.starts[q.rows[k]] for l in (1, 2)}
    only = [t for t in range(len(q.design.u)) if t not in seen]
    assert len(only) > 20
    q.design.u[only] = 77.*q.design.grid.share.float()
    a,b = (compare_rivals(r, CLIMATE_RIVALS, options=dict(rank=2, max_epochs=3), **QUICK)[1] for r in (p, q))
    for k in a:
        assert a[k]['valid']['mse'] == pytest.approx(b[k]['valid']['mse'], rel=1e-7), k
        assert {n: v for n,v in a[k].items() if n in ('eofs', 'length', 'rank', 'start', 'epochs')} == {n: v
                for n,v in b[k].items() if n in ('eofs', 'length', 'rank', 'start', 'epochs')}

def test_validation_rows_choose_and_do_not_teach():
    "With one candidate there is nothing to choose, and validation rows change nothing on test rows."
    p,q = (climate_problem(make_ocean(seed=4), make_rain(seed=5), region='AZ', leads=2) for _ in range(2))
    q.y[q.rows['valid']] = -q.y[q.rows['valid']]
    one = dict(ranks=(1,), penalties=(.02,), starts=1)
    for m in ('nino34', 'cp_regressor'):
        assert baselines(p, [m], **one)[m]['test'] == baselines(q, [m], **one)[m]['test']
    assert any(baselines(p, [m])[m]['test'] != baselines(q, [m])[m]['test'] for m in ('ridge', 'eof_ridge'))

def test_white_noise_has_no_skill():
    "Over many splits of pure noise no baseline scores above chance."
    scores = [[v['test']['r2'] for v in baselines(climate_problem(make_ocean(seed=9), make_rain(seed=k),
            region='AZ', split_seed=k), CLIMATE_RIVALS[:-1]).values()] for k in range(8)]
    assert np.mean(scores) < .02

# ---- MRTL's own rivals

@pytest.mark.parametrize('outputs', [False, True])
def test_trained_ways_are_the_estimator(outputs):
    p = climate_problem(make_ocean(seed=4), make_rain(seed=5), region='AZ', by='division' if outputs else None, leads=2)
    o = dict(rank=2, max_epochs=3); got = trained_ways(p, o)
    y,rows = p.y.values,p.rows
    for name,change in {'MRTL': {}, 'fixed resolution': dict(schedule=[(4, 6)], full_levels=1),
                        'random start': dict(init='random')}.items():
        m = MRTLRegressor(**o|change).fit(p.design.take(rows['train']), y[rows['train']],
                                          valid=(p.design.take(rows['valid']), y[rows['valid']]))
        f = m.predict(p.design)
        assert {k: got[name][k] for k in ('valid', 'test',
                                          'seasons')} == p.scores(f) and got[name]['epochs'] == m.n_iter_
        assert got[name]['test'] == skill(y[rows['test']],
                                          f[rows['test']]) and got[name]['valid'] == skill(y[rows['valid']],
                f[rows['valid']])
    stages = {k: [l['stage'] for l in v['model'].levels_] for k,v in got.items()}
    assert stages['fixed resolution'] == ['full',
                                          'low'] and 'full' not in stages['random start'] and len(stages['MRTL']) > 2
    assert list(trained_ways(p, o, random=False)) == ['MRTL']

def test_table_of_all():
    p = climate_problem(make_ocean(seed=4), make_rain(seed=5), region='AZ', leads=2, start_months=[11, 12, 1], window=3)
    table,found = compare_rivals(p, RULES, options=dict(rank=1, max_epochs=2))
    assert table.method.tolist() == ['MRTL', 'fixed resolution', 'random start',
                                     *RULES] and table.columns.tolist() == ['method', 'valid', 'test', 'DJF', 'chosen']
    assert (table.test == table.DJF).all() and table.test.tolist() == [s['test']['r2']
            for s in found.values()] and table.chosen[6].startswith('eofs ')
    json.dumps({k: {n: v for n,v in s.items() if n != 'model'} for k,s in found.items()})
    assert climate_options(16)['l2'] == pytest.approx(.05) and climate_options()['l2'] == .1

# ---- the page of results

@pytest.fixture
def runs(root): return pd.read_csv(root/'nbs/reproduction/results/climate_runs.csv')

def shown(root, source):
    "The stored text of the cell that begins so."
    for c in json.loads((root/'nbs/reproduction/rain.ipynb').read_text())['cells']:
        if ''.join(c['source']).removeprefix('#| code-fold: true\n').startswith(source):
            return [line.split() for line in ''.join(c['outputs'][-1]['data']['text/plain']).splitlines()]

@pytest.mark.parametrize('case,seeds', [('midwest', 5), ('southwest', 20)])
def test_page_tables_are_the_saved_runs(root, runs, case, seeds):
    cell = [l for l in (shown(root, f"table('{case}')") or shown(root, 'def table')) if len(l) > 5]
    assert len(cell) == 9
    for line in cell:
        name = ' '.join(line[:-5])
        v = runs[(runs.case == case)&(runs.method == name)].sort_values('seed')
        assert v.seed.tolist() == list(range(seeds)), name
        np.testing.assert_allclose([float(k) for k in line[-5:]],
                                   [v.test.mean(), np.std(v.test, ddof=1), v.test.min(), v.test.max(), seeds],
                                   atol=6e-4, err_msg=name)

def test_goals_on_the_real_series(runs):
    test = runs.pivot(index=['case', 'seed'], columns='method', values='test')
    assert test.loc['midwest'].MRTL.between(-.02, .04).all() and test.loc['southwest'].MRTL.mean() >= max(.1,
            test.loc['southwest'].ridge.mean()-.05) and test.loc['southwest'].MRTL.min() > -.25

def test_page_of_divisions_is_the_saved_table(root, runs):
    by = pd.read_csv(root/'nbs/reproduction/results/climate_divisions.csv', dtype=dict(division=str))
    assert len(by) == 252 and by.division.is_unique
    for line in shown(root, 'summary = ')[1:]:
        name = ' '.join(line[:-6]); v = by[name]
        np.testing.assert_allclose([float(k) for k in line[-6:]],
                                   [v.mean(), v.median(), (v > 0).mean(), (v > .05).mean(),
                                    v.max(), v.min()], atol=6e-4)
        assert v.mean() == pytest.approx(runs[(runs.case == 'divisions')&(runs.method == name)].test.mean(),
                                         abs=1e-4), name
    null = pd.read_csv(root/'nbs/reproduction/results/climate_shifted.csv')
    for line in shown(root, 'null = ')[2:]:
        v = null[null.method == line[0]].test
        np.testing.assert_allclose([float(k) for k in line[1:]],
                                   [v.mean(), v.median(), np.quantile(v, .95), v.max(), len(v)], atol=6e-4)

@pytest.mark.data
def test_one_split_again(data, runs):
    "The Southwest's first split, from the files."
    f = ('climate/kaplan_sst_anomaly_pacific_5deg_1856_2014.nc','climate/hadslp2_slp_pacific_5deg_1871_1998.nc',
         'climate/nclimdiv_precip_1895_2022.nc')
    p = climate_problem([data(k) for k in f[:2]], data(f[2]), region='AZ,NM', start_months=[11, 12, 1],
                        window=3, split_seed=0)
    table,_ = compare_rivals(p, CLIMATE_RIVALS[:-1], random=False, options=climate_options(1)|dict(finegrain='overlap'))
    saved = runs[(runs.case == 'southwest')&(runs.seed == 0)].set_index('method')
    for r in table.itertuples():
        assert (r.valid, r.test) == pytest.approx(tuple(saved.loc[r.method, ['valid', 'test']]),
                                                  rel=.02, abs=2e-3), r.method
