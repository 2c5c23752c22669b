"""Intervals of coefficients and of their sums: coverage, signs, files, every kind of target, and exact algebra on
tiny worlds."""
import numpy as np, pytest, torch, xarray as xr
from sklearn.base import clone
from mrtl.core import AbsentError, ConfigError, DataError
from mrtl.estimators import MRTLClassifier, MRTLRegressor
from mrtl.evidence.effects import Effects
from mrtl.evidence.intervals import Cells, Totals, half_width, rougher, scale_mixture, spread_levels
from mrtl.evidence.ladder import fit_maps, map_variance
from mrtl.evidence.prior import Gaussian, MapData, MapLevel, Part, feature_rows, kernel_modes
from mrtl.evidence.rows import Noise, Rows
from mrtl.grids import Grid

SHAPE = 8,14
Q = [.025, .1, .25, .5, .75, .9, .975]

@pytest.fixture(scope='module')
def planted():
    "A blob in one of two variables; the other does nothing."
    rng = np.random.default_rng(0); y,x = np.mgrid[:8,:14]
    beta = np.stack([np.exp(-((y-4)**2+(x-4)**2)/8.), 0*x])
    X = rng.normal(size=(160,2,*SHAPE)); s = (X*beta).sum((1,2,3))
    X = xr.DataArray(X, dims=('trial','variable','lat','lon'),
                     coords=dict(variable=['sst','slp'], lat=np.linspace(-20, 20, 8), lon=np.linspace(0, 60, 14)))
    share = Grid(SHAPE, (-20-20/7, 20+20/7), (-30/13, 60+30/13), ('lat','lon'), sphere=True).share.numpy()
    return X,s/s.std()+rng.normal(size=160),beta/s.std()/share,s/s.std()

@pytest.fixture(scope='module')
def fitted(planted): return MRTLRegressor(method='evidence', window=1).fit(*planted[:2])

def test_intervals_hold_where_the_map_is_zero_and_where_it_is_not(planted, fitted):
    truth = planted[2]; inside = truth>.1*truth.max(); Q3 = fitted.coef_quantiles([.025, .25, .75, .975]).values
    wide,half = (Q3[0]<=truth)&(truth<=Q3[3]),(Q3[1]<=truth)&(truth<=Q3[2])
    assert wide[inside].mean()>.85 and wide[~inside].mean()>.85 and half.mean()<.95

def test_quantiles_rise_and_lie_about_the_map(fitted):
    q = fitted.coef_quantiles(Q)
    assert q.dims==('quantile',*fitted.coef_.dims) and (q.diff('quantile')>0).all() and q['quantile'].values.tolist()==Q
    xr.testing.assert_equal(q.sel(quantile=.5, drop=True), fitted.coef_)
    np.testing.assert_allclose(q[1]+q[-2], 2*fitted.coef_, rtol=1e-9, atol=1e-9*float(abs(fitted.coef_).max()))
    one = fitted.coef_quantiles(.9)
    assert one.dims==fitted.coef_.dims and float(one['quantile'])==.9
    np.testing.assert_allclose(one, q.sel(quantile=.9), rtol=1e-12, atol=1e-12*float(abs(fitted.coef_).max()))
    ratio = ((q[-1]-q[0])/fitted.coef_std_/3.92).sel(variable='sst')
    assert .5<float(ratio.min()) and float(ratio.max())<4

def test_signs_are_called_by_their_definition(planted, fitted):
    from scipy.stats import norm
    s,c,sd = fitted.coef_significant_,fitted.coef_,fitted.coef_std_
    np.testing.assert_array_equal(s!=0, norm.cdf(-abs(c)/sd)<=.025)
    assert set(np.unique(s))<={-1.,0.,1.}
    called = s.values!=0; assert called.sum()>5 and (s.values==np.sign(planted[2]))[called].mean()>.95

def test_the_rougher_level_leaves_the_map_alone(fitted):
    f = fitted.fitted_.model.fits[0]
    assert len(f.wide)==1 and f.wide[0].parts[0].length<=.61*max(1.7, f.levels[0].parts[0].length)
    assert (f.std_of(Cells())**2>=f.map_std()**2/2).all() and float(f.std_of(Cells()).mean())>float(f.map_std().mean())

@pytest.mark.parametrize('how', ['fast','full'])
def test_a_file_keeps_them_and_a_seed_repeats_them(planted, fitted, how, tmp_path):
    X,y = planted[:2] if how=='fast' else (planted[0][:60,:1,:5,:7],planted[1][:60])
    m = fitted if how=='fast' else MRTLRegressor(method='evidence', window=1, intervals=how).fit(X, y)
    assert len(m.fitted_.model.fits[0].wide)==(1 if how=='fast' else 8)
    m.save(tmp_path/'m.mrtl')
    back = MRTLRegressor.load(tmp_path/'m.mrtl')
    mask = abs(m.coef_.isel(variable=0, drop=True))>.1
    assert back.intervals==how
    xr.testing.assert_allclose(back.coef_quantiles(Q), m.coef_quantiles(Q), rtol=1e-9)
    xr.testing.assert_allclose(back.effect(mask), m.effect(mask), rtol=1e-9)
    again = clone(m).fit(X, y)
    xr.testing.assert_identical(again.coef_quantiles(Q), m.coef_quantiles(Q))
    xr.testing.assert_identical(again.coef_, clone(m).set_params(intervals='fast').fit(X, y).coef_)

@pytest.mark.parametrize('kind', ['outputs','labels','classes','ordered','counts','gaps','components'])
def test_every_kind_of_target(planted, kind, tmp_path):
    X,y,_,s = planted; rng = np.random.default_rng(1)
    kw = {}
    cls = MRTLClassifier if kind in ('labels','classes','ordered') else MRTLRegressor
    if kind=='outputs': y = np.stack([y, rng.normal(size=160)+s], 1)
    if kind=='labels': y = np.where(y>0, 'wet', 'dry')
    if kind in ('classes','ordered'): y = np.digitize(y, [-.5, .5]); kw = dict(ordered=kind=='ordered')
    if kind=='counts': y = rng.poisson(np.exp(.5*s)); kw = dict(loss='poisson')
    if kind=='gaps': X = X.where(rng.random(X.shape)>.05); kw = dict(missing='climatology')
    if kind=='components': kw = dict(rank=1)
    if cls is MRTLRegressor: kw['window'] = 1
    m = cls(method='evidence', **kw).fit(X, y)
    q = m.coef_quantiles([.1, .9])
    dim = dict(outputs='output', classes='class').get(kind)
    assert (q.dims==('quantile',*m.coef_.dims) and np.isfinite(q).all() and (q[0]<m.coef_).all()
            and (m.coef_<q[1]).all() and m.coef_significant_.dims==m.coef_.dims)
    here = m.coef_.isel({dim: 0} if dim else {}, drop=True).isel(variable=0, drop=True)
    e = m.effect(xr.ones_like(here, dtype=bool))
    assert e.estimate.dims==('variable',)+((dim,) if dim else ())
    m.save(tmp_path/'m.mrtl')
    xr.testing.assert_allclose(cls.load(tmp_path/'m.mrtl').coef_quantiles([.1, .9]), q, rtol=1e-9)

def test_land_has_none(planted):
    X = planted[0].copy(); X[:,:,:2,:3] = np.nan
    m = MRTLRegressor(method='evidence', window=1).fit(X, planted[1])
    q = m.coef_quantiles([.1,.9])
    assert (q.isnull().equals(xr.concat([m.coef_.isnull()]*2, 'quantile').assign_coords(quantile=[.1,.9]))
            and m.coef_significant_.isnull().equals(m.coef_.isnull()) and int(q.isnull().sum())==24)
    e = m.effect(xr.ones_like(m.coef_[0], dtype=bool).drop_vars('variable'))
    assert np.isfinite(e.estimate).all() and (e['std']>0).all()

def test_what_has_none_says_so(planted):
    m = MRTLRegressor(method='sgd', max_epochs=2).fit(*planted[:2])
    for ask in (lambda: m.coef_quantiles(.5), lambda: m.coef_significant_, lambda: m.effect(np.ones(SHAPE))):
        with pytest.raises(AbsentError, match="needs method='evidence'.*'sgd'"): ask()
    assert not hasattr(m, 'coef_significant_') and 'coef_significant_' not in dir(m)
    with pytest.raises(ConfigError, match='intervals must be one of fast, full'):
        MRTLRegressor(method='evidence', intervals='none').fit(*planted[:2])

def test_bad_questions_are_refused(fitted):
    for q in (0, 1., [.5, 1.2], [], np.nan):
        with pytest.raises(ConfigError, match='above 0 and below 1'): fitted.coef_quantiles(q)
    with pytest.raises(DataError, match='month'):
        fitted.effect(xr.DataArray(np.ones((2,*SHAPE)), dims=('month','lat','lon')))
    with pytest.raises(DataError, match='other coordinates'):
        fitted.effect(xr.DataArray(np.ones(8), dims='lat', coords=dict(lat=np.arange(8.))))

def test_effects_add_up(planted, fitted):
    "Changes of all fields give predictions; two regions give their sum, and a change of half gives half."
    X = planted[0]
    e = fitted.effect(X[3].drop_vars('variable'))
    p = fitted.predict(X[3:4])[0]-fitted.predict(xr.zeros_like(X[3:4]))[0]
    np.testing.assert_allclose(float(e.estimate), p, rtol=1e-9)
    mask = xr.zeros_like(fitted.coef_[0], dtype=bool).drop_vars('variable')
    a,b = mask.copy(),mask.copy(); a[2:6,2:5] = True
    b[2:6,5:8] = True
    A,B,both,half = (fitted.effect(v) for v in (a, b, a|b, .5*a))
    np.testing.assert_allclose(A.estimate+B.estimate, both.estimate, rtol=1e-9)
    np.testing.assert_allclose(half['std'], A['std']/2, rtol=1e-9)
    np.testing.assert_allclose(half.quantiles, A.quantiles/2, rtol=1e-6)
    assert (abs(both['std']-(A['std']+B['std']))[0]>1e-3 and both.quantiles.dims==('quantile','variable')
            and (both.significant.isel(variable=0)==1))

def tiny(n=40, seed=0):
    "Samples, and the level of two parts and covariates that the oracle knows."
    g = torch.Generator().manual_seed(seed)
    r = lambda *s: torch.randn(*s, generator=g, dtype=torch.float64)
    u,y,z = r(n, 2, 5, 6),r(n),r(n, 2); grid = Grid((5,6))
    S = [r(5,6).abs()+.1 for _ in range(2)]
    A = [r(2,2)/3 for _ in range(2)]
    parts = lambda: [Part(l, s, a@a.T) for l,s,a in zip((2., 1.2), S, A)]
    B = [torch.kron(*kernel_modes(grid, l, 1e-14)) for l in (2., 1.2)]
    prior = sum(torch.kron(a@a.T, s.view(-1,1)*(b@b.T)*s.view(-1)) for a,s,b in zip(A, S, B))
    return u,y,z,grid,parts,prior,r(3, 2, 5, 6)

@pytest.mark.parametrize('beside', [False, True])
@pytest.mark.parametrize('many', [False, True])
def test_variances_of_sums_against_dense_algebra(beside, many):
    n = 150 if many else 40; u,y,z,grid,parts,prior,b = tiny(n); e = Effects(z) if beside else None
    like = Rows(Noise(torch.ones(n, dtype=torch.float64)),
                e) if many else Gaussian(torch.eye(n, dtype=torch.float64), e)
    d = MapData(u, feature_rows(torch.arange(n), 2), y, grid, like, keep=1e-14)
    level = like.settle(MapLevel(parts(), None, .5, 0.), d)
    assert (level.ones is not None)==many
    X = u.flatten(1)
    K = torch.linalg.inv(X@prior@X.T+.5*torch.eye(n)+10)
    cov = prior-prior@X.T@K@X@prior
    if beside: U = prior@X.T@K@z; cov = cov+U@torch.linalg.inv(z.T@K@z)@U.T
    w = b.flatten(1); ask = Totals(b)
    torch.testing.assert_close(ask.variance(level, d.rows), (w@cov*w).sum(1), rtol=1e-6, atol=1e-10)
    torch.testing.assert_close(ask.prior(level), (w@prior*w).sum(1), rtol=1e-7, atol=1e-10)
    torch.testing.assert_close(ask.of(level.maps), w@level.maps.flatten())
    torch.testing.assert_close(Cells().variance(level, d.rows).flatten(), cov.diagonal(), rtol=1e-6, atol=1e-9)

@pytest.mark.parametrize('how', ['fast','full'])
def test_pseudo_rows_change_nothing(how):
    g = torch.Generator().manual_seed(2); n = 160
    u = torch.randn(n, 1, 6, 8, generator=g, dtype=torch.float64)/10
    truth = torch.zeros(6, 8).double(); truth[2:4,2:5] = 3
    y = (u[:,0]*truth).sum((1,2))
    y = y/y.std()+.5*torch.randn(n, generator=g, dtype=torch.float64)
    data = [MapData(u, feature_rows(torch.arange(n), 1), y, Grid((6,8)), like)
            for like in (Gaussian(torch.eye(n, dtype=torch.float64)), Rows(Noise(torch.ones(n, dtype=torch.float64))))]
    fit = fit_maps(data[0])
    a,b = (spread_levels(fit.levels, fit.prior, d, how) for d in data)
    tol = 1e-3 if how=='fast' else 5e-2
    for p,q in zip(a, b):
        assert (p.maps-q.maps).abs().max()<tol*p.maps.abs().max()
        torch.testing.assert_close(map_variance(p, data[0].rows), map_variance(q, data[1].rows), rtol=5*tol, atol=1e-6)

def test_a_mixture_of_one_scale_is_the_posterior(monkeypatch):
    monkeypatch.setattr('mrtl.evidence.intervals.LOG_SCALES', np.zeros(1))
    m,v,p = (torch.tensor([t], dtype=torch.float64) for t in (.7, .2, 1.1))
    w,M,V = scale_mixture(m, v, p)
    assert float(w)==1
    torch.testing.assert_close(M[0], m)
    torch.testing.assert_close(V[0], v)
    torch.testing.assert_close(half_width(w, 0*M, V.sqrt(), .8), 1.2815515655*v.sqrt())

def test_noise_gets_intervals_too():
    rng = np.random.default_rng(4)
    m = MRTLRegressor(method='evidence', window=1).fit(rng.normal(size=(60,5,6)), rng.normal(size=60))
    q = m.coef_quantiles([.025,.975])
    assert (m.coef_==0).all() and (m.coef_significant_==0).all() and (q[1]>0).all() and (m.coef_std_>0).all()
