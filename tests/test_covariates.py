"""Covariates and an offset, in all ways of fitting: against dense oracles, by name and by date, in files, and what
happens without them."""
import numpy as np, pandas as pd, pytest, torch, xarray as xr
from scipy.ndimage import gaussian_filter
from scipy.optimize import minimize
from sklearn.base import clone
from sklearn.linear_model import LinearRegression, PoissonRegressor
from mrtl import EventDesign, MRTLClassifier, MRTLRegressor, Term
from mrtl.bootstrap import block_bootstrap
from mrtl.core import AbsentError, ConfigError, DataError, FormatError
from mrtl.covariates import Covariates
from mrtl.designs import FieldDesign, Mode
from mrtl.evidence.effects import Effects
from mrtl.evidence.laplace import LIKELIHOODS
from mrtl.evidence.prior import MapData, MapLevel, Part, feature_rows, times_of
from mrtl.fits import GradientFit
from mrtl.glm import regress
from mrtl.grids import Grid
from mrtl.models import FullRank, LowRank
from mrtl.options import GradientOptions
from mrtl.problems import Problem
from mrtl.samples import Data, Samples
from mrtl.training import Objective, Trainer
from mrtl.store import load_tensors, save_tensors

N,SHAPE = 80,(4,6)
DAYS = pd.date_range('2001-01-01', periods=N)

def world(seed=0, n=N, shape=SHAPE):
    "Smooth fields, a blob, and a table of three covariates, the first of which goes with the blob."
    rng = np.random.default_rng(seed)
    X = gaussian_filter(rng.normal(size=(n, *shape)), (0,1,1)); X /= X.std()
    y,x = np.mgrid[:shape[0],:shape[1]]; W = np.exp(-((y-1)**2+(x-3)**2)/2); s = (X*W).sum((1,2)); s /= s.std()
    table = pd.DataFrame(dict(warmth=280+10*(.6*s+.8*rng.normal(size=n)),
                              day=pd.Categorical(rng.choice(['Mon','Tue','Sun'], n), ['Mon','Tue','Sun']),
                              rainy=rng.random(n)<.4), index=DAYS[:n] if n<=N else None)
    return X,W,s,table,rng

X,W,S,TABLE,RNG = world()
EFFECT = .1*(TABLE.warmth-280)+.8*(TABLE.day=='Sun')
Y = dict(regression=S+EFFECT.values+.5*RNG.normal(size=N), classes=np.where(RNG.random(N)<1/(1+np.exp(-S-EFFECT)),
        'yes', 'no'), counts=RNG.poisson(np.exp(.5+.4*S+.4*EFFECT)))
KIND = dict(regression=(MRTLRegressor, {}), classes=(MRTLClassifier, {}), counts=(MRTLRegressor, dict(loss='poisson')))
LOSS = dict(regression='squared', classes='logistic', counts='poisson')
OFFSET = np.linspace(-.5, .5, N)
FAST = dict(sgd=dict(max_epochs=2, schedule=[SHAPE]), evidence={}, terms={})
both = pytest.mark.parametrize('way', ['sgd','evidence'])
kinds = pytest.mark.parametrize('kind', KIND)

def estimator(kind, way, **more):
    cls,kw = KIND[kind]
    return cls(**dict(rank=1, **({} if way=='terms' else dict(method=way)), **FAST[way], **kw)|more)

_fitted = {}
def fitted(kind, way):
    "A model of each kind and way, fitted once."
    if (kind, way) not in _fitted: _fitted[kind, way] = estimator(kind, way).fit(X, Y[kind], TABLE, OFFSET)
    return _fitted[kind, way]
def said(m, *given): return m.predict_proba(*given)[:,1] if isinstance(m, MRTLClassifier) else m.predict(*given)

# ---- evidence against dense matrices

def dense(level, rows, Z):
    "The samples' covariance and its inverse."
    Zr = [p.Z[rows] for p in level.parts]
    K = sum(torch.einsum('ifq,fg,jgq->ij', z, p.Sigma, z)
            for z,p in zip(Zr, level.parts)) if level.parts else torch.zeros(len(rows), len(rows)).double()
    return (K+10).numpy()

def test_evidence_is_generalised_least_squares(monkeypatch):
    monkeypatch.setattr('mrtl.evidence.ladder.FEW', 1) # no wider noise for few rows, which comes after the solution
    m = estimator('regression', 'evidence').fit(X[:60], Y['regression'][:60], TABLE[:60])
    f,k = m.fitted_.model.fits[0],m._beside
    Z = np.column_stack([TABLE.warmth, TABLE.day=='Tue', TABLE.day=='Sun', TABLE.rainy]).astype(float)
    Z = (Z-k.mean)/k.sd; z,new = Z[:60],Z[60:]
    assert f.weights.sum() > .5 and f.nothing is not None
    y = (Y['regression'][:60]-m.fitted_.model.mean[0])/m.fitted_.model.sd[0]
    parts = []
    d = FieldDesign(torch.from_numpy(X[:,None]), Grid(SHAPE), ('feature',))
    u = d.standardise(*m.fitted_.model.moments).u if m.fitted_.model.moments else d.u
    for w,l in f.parties:
        K0 = dense(l, f.rows, z)
        R = np.linalg.inv(K0+(l.s2+l.jitter)*np.eye(60))
        A = np.linalg.inv(z.T@R@z); g = A@z.T@R@y
        np.testing.assert_allclose(l.gamma, g, atol=1e-8); np.testing.assert_allclose((l.C@l.C.T).numpy(), A, atol=1e-8)
        t = [times_of(p, u.double()) for p in l.parts]
        cross = sum((float(p.Sigma[0,0])*q[60:]@p.Z[f.rows[:,0]].T for q,p in zip(t, l.parts)),
                    torch.zeros(N-60, 60).double()).numpy()+10
        own = sum((float(p.Sigma[0,0])*(q[60:]**2).sum(1) for q,p in zip(t, l.parts)),
                  torch.zeros(N-60).double()).numpy()+10
        D = new-cross@R@z
        parts.append((w, new@g+cross@R@(y-z@g), own-np.einsum('ij,jk,ik->i', cross, R, cross)
                      +np.einsum('ij,jk,ik->i', D, A, D)+l.s2, g, np.diag(A)))
    mean,gamma = sum(p[0]*p[1] for p in parts),sum(p[0]*p[3] for p in parts)
    sd,unit = m.fitted_.model.sd[0],m.fitted_.model.mean[0]
    np.testing.assert_allclose(m.covariates_.coef*k.sd/sd, gamma, atol=1e-8)
    np.testing.assert_allclose(m.covariates_['std']*k.sd/sd,
                               np.sqrt(sum(w*(v+(g-gamma)**2) for w,_,_,g,v in parts)), atol=1e-8)
    got,std = m.predict(X[60:], TABLE[60:], return_std=True)
    np.testing.assert_allclose(got, unit+sd*mean, atol=1e-8)
    np.testing.assert_allclose(std, sd*np.sqrt(sum(w*(v+(e-mean)**2) for w,e,v,_,_ in parts)), atol=1e-8)

@pytest.mark.parametrize('loss', ['logistic','poisson'])
def test_laplace_is_at_the_top_of_the_dense_posterior(loss):
    n = 30
    y = torch.from_numpy((Y['classes'] == 'yes').astype(float) if loss == 'logistic' else Y['counts'].astype(float))[:n]
    Z,o,w = RNG.normal(size=(n, 2)),OFFSET[:n],RNG.random(n)+.5
    like = LIKELIHOODS[loss](torch.from_numpy(w), .2+torch.from_numpy(o), Effects(torch.from_numpy(Z)))
    data = MapData(torch.from_numpy(X[:n,None]), feature_rows(torch.arange(n), 1), y, Grid(SHAPE), like)
    level = like.settle(MapLevel([Part(2., torch.ones(SHAPE).double(), torch.eye(1).double()/9)], None, 1., 0.), data)
    K = dense(level, data.rows, Z)
    root = np.linalg.cholesky(K+1e-12*np.eye(n))
    F = np.c_[root, Z]; P = np.r_[np.ones(n), 0., 0.]
    mean = (lambda s: 1/(1+np.exp(-s))) if loss == 'logistic' else np.exp
    bend = (lambda m: m*(1-m)) if loss == 'logistic' else (lambda m: m)
    part = (lambda s: np.logaddexp(0, s)-y.numpy()*s) if loss == 'logistic' else (lambda s: np.exp(s)-y.numpy()*s)
    v = minimize(lambda v: (w*part(.2+o+F@v)).sum()+(P*v*v).sum()/2, np.zeros(n+2),
                 jac=lambda v: F.T@(w*(mean(.2+o+F@v)-y.numpy()))+P*v,
        hess=lambda v: (F.T*(w*bend(mean(.2+o+F@v))))@F+np.diag(P), method='trust-exact', options=dict(gtol=1e-11)).x
    np.testing.assert_allclose(level.gamma, v[n:], atol=1e-7)
    np.testing.assert_allclose((level.C@level.C.T).numpy(),
                               np.linalg.inv((F.T*(w*bend(mean(.2+o+F@v))))@F+np.diag(P))[n:,n:], atol=1e-6)

# ---- gradients

def test_gradients_equal_autograd():
    g = torch.Generator().manual_seed(0)
    r = lambda *s: torch.randn(*s, generator=g, dtype=torch.float64)
    grid = Grid((2,3))
    events = EventDesign({'player': torch.randint(3, (20,1), generator=g),
                          'court': torch.randint(6, (20,1), generator=g)},
                         [Mode('player', 3, indexed=True), Mode('court', 6, grid, True)])
    fields = FieldDesign(r(20, 2, 2, 3), grid, ('variable',)); z,o = r(20, 2),r(20)
    for design in (events, fields):
        for model in (FullRank(design.modes, 3, dtype=torch.float64, covariates=2),
                      LowRank(design.modes, 2, 3, dtype=torch.float64, covariates=2)):
            for p in model.parameters(): p.data = r(*p.shape)
            how = GradientOptions(l2=.1, smooth=.1, covariate_ridge=.3, optimizer='adam', dtype='float64')
            data = Data(design, r(20, 3), None, torch.float64, z=z, offset=o)
            t = Trainer(model, data, objective=Objective(model.modes, 'squared', how), options=how)
            b = model.prepare(data.batch())
            with torch.no_grad(): t._gradient(b, data.y, data.e/data.e.numel())
            ours = [p.grad.clone() for p in model.parameters()]; bare = model(design.batch())
            J = (((bare+z@model.gamma+o[:,None]-data.y)**2)*data.e).mean()+Objective(model.modes,
                    'squared', how).penalty(model)
            for a,b in zip(ours, torch.autograd.grad(J, list(model.parameters()))):
                torch.testing.assert_close(a, b, rtol=0, atol=1e-10)

@kinds
def test_without_maps_it_is_a_regression(kind):
    m = estimator(kind, 'sgd', l2=1e9, max_epochs=10).fit(X, Y[kind], TABLE, OFFSET)
    y = (Y[kind] == 'yes').astype(float) if kind == 'classes' else Y[kind].astype(float)
    Z = np.column_stack([np.ones(N), TABLE.warmth-280, TABLE.day=='Tue', TABLE.day=='Sun', TABLE.rainy]).astype(float)
    ref = regress(Z, y, np.ones(N), LOSS[kind], OFFSET)
    np.testing.assert_allclose(m.covariates_.coef, ref.coef[1:], atol=1e-5)
    np.testing.assert_allclose(m.covariates_['std'], np.sqrt(np.diag(ref.cov)[1:]), rtol=.1)
    if kind == 'regression':
        np.testing.assert_allclose(ref.coef[1:], LinearRegression().fit(Z[:,1:], y-OFFSET).coef_, atol=1e-9)
    if kind == 'counts':
        np.testing.assert_allclose(ref.coef[1:], PoissonRegressor(alpha=0, tol=1e-10, max_iter=5000).fit(Z[:,1:],
                y/np.exp(OFFSET), np.exp(OFFSET)).coef_, atol=1e-4)
    s = float(m.factors_.bias[0])+np.column_stack([TABLE.warmth, TABLE.day=='Tue', TABLE.day=='Sun',
                                                   TABLE.rainy]).astype(float)@m.covariates_.coef.values+OFFSET
    inverse = dict(regression=lambda s: s, classes=lambda s: 1/(1+np.exp(-s)), counts=np.exp)[kind]
    np.testing.assert_allclose(said(m, X, TABLE, OFFSET), inverse(s), atol=1e-4)

def test_several_outputs_adam_and_validation():
    y = np.stack([Y['regression'], -2*Y['regression']], 1); n = 60
    m = MRTLRegressor(rank=1, method='sgd', optimizer='adam', max_epochs=30, patience=30).fit(X[:n], y[:n],
            TABLE[:n], valid=dict(X=X[n:], y=y[n:], covariates=TABLE[n:]))
    assert m.covariates_.coef.shape == (4, 2) and m.covariates_['std'].shape == (4,
            2) and (m.covariates_['std'] > 0).all() and m.levels_[0]['valid']
    np.testing.assert_allclose(m.covariates_.coef[:,1]/m.covariates_.coef[:,0], -2, rtol=.2)
    e = estimator('regression', 'evidence').fit(X, y, TABLE); assert e.covariates_.coef.dims == ('covariate','output')
    np.testing.assert_allclose(e.covariates_.coef[:,1], -2*e.covariates_.coef[:,0], rtol=1e-5)

# ---- all ways alike

@pytest.mark.parametrize('way', ['sgd','evidence','terms'])
@kinds
def test_every_way_takes_both(kind, way, tmp_path):
    if way == 'terms': data = FieldDesign(torch.from_numpy(X[:,None]), Grid(SHAPE), ('feature',))
    m = fitted(kind, way) if way != 'terms' else estimator(kind, 'terms',
            terms=[Term(('feature','space'), smooth=.01, ridge=.1)]).fit(data, Y[kind], TABLE, OFFSET)
    D = X if way != 'terms' else data
    c = m.covariates_
    assert list(c.covariate.values) == ['warmth','day[Tue]','day[Sun]','rainy'] and (c['std'] > 0).all()
    unit = .4 if kind == 'counts' else 1.
    assert abs(float(c.coef[0])-.1*unit) < 4*float(c['std'][0]), 'the planted effect'
    p = said(m, D, TABLE, OFFSET); np.testing.assert_array_equal(said(m, D, TABLE[['rainy','warmth','day']], OFFSET), p)
    m.save(tmp_path/'m.mrtl'); again = type(m).load(tmp_path/'m.mrtl')
    np.testing.assert_array_equal(said(again, D, TABLE, OFFSET), p); xr.testing.assert_identical(again.covariates_, c)
    if kind != 'classes' and way == 'evidence': assert (m.predict(D, TABLE, OFFSET, return_std=True)[1] > 0).all()
    assert np.isfinite(m.score(D, Y[kind], covariates=TABLE, offset=OFFSET)) and m.transform(D).shape[0] == N
    for given,text in ((dict(), 'offset: give it'),
                       (dict(offset=OFFSET), r'with covariates \(warmth, day, rainy\)'),
                       (dict(covariates=TABLE), 'with an offset')):
        with pytest.raises(DataError, match=text): m.predict(D, **given)
    tensors,meta = load_tensors(tmp_path/'m.mrtl')
    meta['fitted']['covariates']['sd'] = meta['fitted']['covariates']['sd'][:2]
    save_tensors(tmp_path/'bad.mrtl', tensors, meta)
    with pytest.raises(FormatError, match='4 covariates, but 4 means and 2 standard'): type(m).load(tmp_path/'bad.mrtl')

@both
def test_offset_of_a_squared_loss_is_another_target(way):
    a,b = (estimator('regression', way).fit(X, Y['regression']-d, **kw)
           for d,kw in ((0, dict(offset=3*OFFSET)), (3*OFFSET, {})))
    np.testing.assert_allclose(a.predict(X, offset=3*OFFSET), b.predict(X)+3*OFFSET, atol=1e-10)

@both
def test_exposure_of_counts(way):
    rng = np.random.default_rng(0); pop = rng.uniform(.2, 5, N); y = rng.poisson(pop*np.exp(1+.4*S))
    m = estimator('counts', way).fit(X, y, offset=np.log(pop)); p = m.predict(X, offset=np.log(pop))
    assert np.corrcoef(p/pop, np.exp(1+.4*S))[0,1] > .85 and abs(p.sum()/y.sum()-1) < .02
    np.testing.assert_allclose(m.predict(X, offset=np.log(2*pop)), 2*p, rtol=1e-8)

def test_ridge_goes_from_flat_to_nothing():
    for way in ('sgd','evidence'):
        size = [float(abs(estimator('regression', way, covariate_ridge=r).fit(X, Y['regression'],
                TABLE.warmth).covariates_.coef[0])) for r in (0., .3, 1e6)]
        assert size[0] > size[1] > size[2] and size[2] < 1e-3*size[0], way
    assert (MRTLRegressor(covariate_ridge=.1).fit(X, Y['regression'], TABLE).method_
            == 'evidence'), 'a ridge of covariates asks for neither way'
    with pytest.raises(ConfigError, match='covariate_ridge must be'):
        MRTLRegressor(covariate_ridge=-1.).fit(X, Y['regression'])

def test_alignment_by_date():
    D = xr.DataArray(X, dims=('time','lat','lon'), coords=dict(time=DAYS, lat=np.arange(4.), lon=np.arange(6.)))
    mixed = np.random.default_rng(1).permutation(N)
    m = estimator('regression', 'evidence').fit(D, Y['regression'], TABLE, OFFSET); o = pd.Series(OFFSET, DAYS)
    b = clone(m).fit(D, Y['regression'], TABLE.iloc[mixed], o.iloc[mixed])
    np.testing.assert_array_equal(b.predict(D, TABLE.iloc[mixed], o.iloc[mixed]), m.predict(D, TABLE, OFFSET))
    with pytest.raises(DataError, match='80 times of X'):
        m.predict(D, TABLE.set_index(DAYS+pd.DateOffset(years=9)), OFFSET)
    with pytest.raises(DataError, match='not among those of offset'): m.predict(D, TABLE, o[:40])
    arrays = xr.DataArray(np.stack([TABLE.warmth, S]), dims=('covariate','time'),
                          coords=dict(covariate=['warmth','s'], time=DAYS))
    assert list(clone(m).fit(D, Y['regression'], arrays).covariates_.covariate.values) == ['warmth','s']

BAD = {'NaN': (TABLE.assign(warmth=TABLE.warmth.where(TABLE.warmth>270)),
               'warmth is NaN or infinite in .* of 80 rows: fill'),
       'constant': (TABLE.assign(flat=1), 'flat is 1 in all training rows'),
    'collinear': (TABLE.assign(f=TABLE.warmth*1.8-459), 'f follows from warmth and the intercept'),
    'dates': (TABLE.assign(t=DAYS), 't holds datetime64'),
    'rows': (TABLE[:70].reset_index(drop=True), '70 rows, but there are 80'),
    'one level': (TABLE.assign(k='a'), 'k is a in all rows'),
    'no level': (TABLE.assign(day=TABLE.day.where(TABLE.day!='Mon')), 'day has no value'),
    'too many': (np.random.default_rng(0).normal(size=(80, 90)), '90 covariates need more than 91 training rows')}
@pytest.mark.parametrize('name', BAD)
def test_bad_tables_are_refused(name):
    with pytest.raises(DataError, match=BAD[name][1]): MRTLRegressor(rank=1).fit(X, Y['regression'], BAD[name][0])

@pytest.mark.parametrize('table,text',
                         [(TABLE.rename(columns=dict(warmth='warmpth')),
                           r"lack the column warmth \(is 'warmpth' meant"),
                          (TABLE.drop(columns='day'), 'lack the column day'),
                          (TABLE.assign(wind=1.), 'have the column wind'),
    (TABLE.assign(day='Wed'), 'day is Wed in 80 rows, but the model was fitted on Mon, Tue, Sun'),
    (TABLE.assign(day=1.), 'day holds numbers'), (TABLE.values[:,:1].astype(float), 'fitted on warmth, day, rainy')])
def test_other_tables_are_refused_at_predict(table, text):
    with pytest.raises(DataError, match=text): fitted('regression', 'evidence').predict(X, table, OFFSET)

def test_bad_offsets_and_validation():
    with np.errstate(divide='ignore'), pytest.raises(DataError,
            match=r'offset is NaN or infinite in 1 of 80 samples: of counts .*offset=np.log\(exposure\)'):
        estimator('counts', 'sgd').fit(X, Y['counts'], offset=np.log(np.arange(N)))
    plain = estimator('regression', 'evidence').fit(X, Y['regression'])
    with pytest.raises(DataError, match='fitted without covariates; got warmth'): plain.predict(X, TABLE.warmth)
    with pytest.raises(DataError, match='fitted without an offset'): plain.predict(X, offset=OFFSET)
    with pytest.raises(AbsentError, match='covariates_ needs a fit with covariates'): plain.covariates_
    for valid,text in (((X, Y['regression']), 'with covariates'), (dict(X=X), 'got X'),
                       (dict(X=X, y=Y['regression'], weight=1), 'got X, y, weight')):
        with pytest.raises(DataError, match=text):
            estimator('regression', 'sgd').fit(X, Y['regression'], TABLE, valid=valid)

# ---- what they are for

@both
def test_leaving_out_a_confounder_biases_the_map(way):
    n = 400; X,W,s,_,rng = world(5, n, (6,8))
    v = X[:,4,6]; z = .8*v+.6*rng.normal(size=n)
    noise = .5*rng.normal(size=n); y = s+2*z+noise
    kw = dict(rank=2, method=way)|({} if way == 'evidence' else dict(smooth=1., patience=8, lr=.02))
    like = lambda m: np.corrcoef(m.coef_.values.ravel(), W.ravel())[0,1]
    knows,has,lacks = like(MRTLRegressor(**kw).fit(X, y-2*z)),like(MRTLRegressor(**kw).fit(X, y,
            z)),like(MRTLRegressor(**kw).fit(X, y))
    assert has > knows-.01 and lacks < knows-.15, (knows, has, lacks)

def test_what_held_out_rows_said_is_kept(tmp_path):
    "By steps: a file holds it, a further fit takes it over, and a file with another number of outputs is refused."
    n = 240; X,_,s,_,rng = world(7, n, (4,6)); v = .6*s/s.std()+.8*rng.normal(size=n)
    y = s/s.std()+.5*v+rng.normal(size=n)
    m = MRTLRegressor(method='sgd', optimizer='adam', rank=1, max_epochs=20).fit(X, y, v); left = m.fitted_.left
    assert 1<=left.fitted<n and .3<left.noise[0]<1.2 and m.fitted_.kept[2] is left
    m.save(tmp_path/'m.mrtl'); back = MRTLRegressor.load(tmp_path/'m.mrtl')
    assert back.fitted_.left==left and back.covariates_.equals(m.covariates_)
    again = clone(m); again._kept = back.fitted_.kept; assert again.fit(X, y, v).fitted_.left==left
    assert abs(float(again.covariates_.coef[0])-.5)<4*float(again.covariates_['std'][0])
    m.fitted_.left = left._replace(noise=[1., 1.]); m.save(tmp_path/'bad.mrtl')
    with pytest.raises(FormatError, match='variance of the noise for each output'):
        MRTLRegressor.load(tmp_path/'bad.mrtl')

def test_bootstrap_and_problem():
    m = estimator('regression', 'evidence').fit(X, Y['regression'], TABLE.warmth, OFFSET)
    b = block_bootstrap(m, X, Y['regression'], np.arange(N)//10, 3, covariates=TABLE.warmth, offset=OFFSET)
    assert b.gamma_lower.shape == (1,) and float(b.gamma_lower[0]) < float(b.gamma_upper[0])
    d = FieldDesign(torch.from_numpy(X[:,None]), Grid(SHAPE), ('feature',))
    rows = dict(train=np.arange(50), valid=np.arange(50, 65), test=np.arange(65, N))
    p = Problem(d, Y['regression'], rows, covariates=TABLE, offset=OFFSET)
    q = p.fit(p.estimator(rank=1, method='evidence'))
    np.testing.assert_array_equal(p.predicted(q), q.predict(d, TABLE, OFFSET))
    assert list(q.covariates_.covariate.values) == Covariates.learn(TABLE, np.ones(N)).names

def test_report_shows_partial_effects(tmp_path):
    fitted('regression', 'evidence').report(tmp_path/'r.html', X, Y['regression'], covariates=TABLE, offset=OFFSET)
    page = (tmp_path/'r.html').read_text()
    assert 'What goes with the covariates' in page and 'day[Sun]' in page and 'per sd' in page
