"""Evidence for labels and counts: gradients over all cases, weights, bad input, invariances, masks, files."""
from copy import deepcopy
import numpy as np
import pytest
import torch
import xarray as xr
from mrtl.events import EventDesign
from mrtl.designs import FieldDesign, Mode
from mrtl.core import AbsentError, ConfigError, DataError
from mrtl.estimators import MRTLClassifier, MRTLRegressor
from mrtl.evidence.prior import FeaturePrior, MapData, MapLevel, Part, feature_rows, kernel_modes, pair_grams, project
from mrtl.evidence.ladder import fit_maps, map_scores, score_variance
from mrtl.evidence.laplace import LIKELIHOODS, LaplaceLikelihood, Logistic, find_peak, worth
from mrtl.grids import Grid
from mrtl.simulate import simulate_field

LOSSES = ['logistic', 'poisson']
both = pytest.mark.parametrize('loss', LOSSES)

def evidence(loss, **kw):
    return MRTLClassifier(method='evidence',
                          **kw) if loss=='logistic' else MRTLRegressor(method='evidence', loss='poisson', **kw)
def response(m, X): return m.predict_proba(X)[:,1] if isinstance(m, MRTLClassifier) else m.predict(X)
def drawn(loss, s, seed=0):
    rng = np.random.default_rng(seed)
    return rng.random(s.shape)<1/(1+np.exp(.7-2*s)) if loss=='logistic' else rng.poisson(np.exp(.7*s))

@pytest.fixture(scope='module')
def months():
    ds = simulate_field(n=240, shape=(8,12), leads=2, variables=2, rank=1, seed=0)
    d = FieldDesign.from_xarray(ds.X, leads=2, dtype=torch.float64)
    s = ds.signal.values[d.rows]
    return d,{l: drawn(l, s/s.std()) for l in LOSSES},ds

@pytest.fixture(scope='module')
def fitted(months): return {l: evidence(l).fit(months[0], months[1][l]) for l in LOSSES}

@pytest.fixture(scope='module')
def rows():
    "Independent rows with a group each, so that folds do not hang on the number of rows."
    rng = np.random.default_rng(1); X = rng.normal(size=(100,5,6))
    s = X[:,1:4,2:5].sum((1,2))
    return X,{l: drawn(l, s/s.std()) for l in LOSSES},np.arange(100)%5

@both
@pytest.mark.parametrize('leads', [1, 3])
@pytest.mark.parametrize('features', [1, 2])
@pytest.mark.parametrize('kind', ['apart', 'lagged', 'free'])
def test_gradient(loss, leads, features, kind):
    g = torch.Generator().manual_seed(0)
    u = torch.randn(33, features, 4, 5, generator=g, dtype=torch.float64)
    at = torch.arange(3, 33)[:,None]-torch.arange(1, leads+1)
    rows = feature_rows(at, features)
    y = torch.from_numpy(drawn(loss, u[3:,0,1,1].numpy()).astype(float))
    w = torch.rand(30, generator=g, dtype=torch.float64)+.3
    p = FeaturePrior(leads, features, kind)
    e = LIKELIHOODS[loss](w, -.3).evidence(pair_grams(project(u, torch.ones(4, 5, dtype=torch.float64),
            kernel_modes(Grid((4,5)), 1.5)), rows, p), y, p)
    x = np.append(np.random.default_rng(0).normal(size=p.size)/4, 0.)
    slope = e(x)[1]
    steps = [(8*(e(x+1e-4*v)[0]-e(x-1e-4*v)[0])-e(x+2e-4*v)[0]+e(x-2e-4*v)[0])/12e-4 for v in np.eye(len(x))]
    np.testing.assert_allclose(slope, steps, atol=1e-7*np.abs(slope).max())

@both
def test_a_peak_does_not_hang_on_its_start(loss):
    g = torch.Generator().manual_seed(0)
    A = torch.randn(40, 3, generator=g, dtype=torch.float64)*3
    K = A@A.T+10
    y = torch.from_numpy(drawn(loss, A[:,0].numpy()/3).astype(float))
    like = LIKELIHOODS[loss](torch.ones_like(y), .2)
    top = find_peak(K, y, like)
    for scale in (1., 30., 1e4):
        torch.testing.assert_close(find_peak(K, y, like, scale*torch.randn(40, generator=g, dtype=torch.float64)).h,
                                   top.h, rtol=0, atol=1e-6)

@both
def test_finds_the_planted_map(loss, fitted, months):
    d,y,ds = months; assert np.corrcoef(fitted[loss].coef_.values.ravel(), ds.beta.values.ravel())[0,1]>.9
    assert np.corrcoef(response(fitted[loss], d), ds.signal.values[d.rows])[0,1]>.7

@both
def test_units_do_not_matter(loss, fitted, months):
    d,y,ds = months
    k = FieldDesign.from_xarray(ds.X*7-300, leads=2, dtype=torch.float64)
    m = evidence(loss).fit(k, y[loss])
    np.testing.assert_allclose(response(m, k), response(fitted[loss], d), rtol=1e-4)
    std = fitted[loss].coef_std_ # of a variable that is left out 1e-13, which is rounding
    np.testing.assert_allclose(m.coef_std_*7, std, rtol=1e-3, atol=1e-9*float(std.max()))

@both
def test_the_seed_does_not_matter(loss, fitted, months):
    xr.testing.assert_identical(evidence(loss, random_state=5).fit(months[0], months[1][loss]).coef_,
                                fitted[loss].coef_)

@both
def test_weights_are_repetitions(loss, rows):
    X,y,g = rows[0],rows[1][loss],rows[2]
    twice = evidence(loss).fit(np.r_[X,X], np.r_[y,y], groups=np.r_[g,g])
    heavy = evidence(loss).fit(X, y, sample_weight=np.full(100, 2.), groups=g)
    light = evidence(loss).fit(X, y, groups=g)
    np.testing.assert_allclose(heavy.decision_function(X) if loss=='logistic' else heavy.predict(X),
                               twice.decision_function(X) if loss=='logistic' else twice.predict(X), rtol=1e-3,
                               atol=1e-3)
    assert np.abs(response(heavy, X)-response(light, X)).max()>.01

@both
def test_weight_zero_is_absence(loss, rows):
    X,y,g = rows[0],rows[1][loss],rows[2]; w = (np.arange(100)>=20).astype(float)
    np.testing.assert_allclose(response(evidence(loss).fit(X, y, sample_weight=w, groups=g), X),
                               response(evidence(loss).fit(X[20:], y[20:], groups=g[20:]), X), rtol=1e-6)

def test_class_weights(rows):
    X,y,g = rows[0],rows[1]['logistic'],rows[2]
    p = {k: evidence('logistic', class_weight=c).fit(X, y).predict_proba(X)[:,1].mean()
         for k,c in (('none', None),('balanced', 'balanced'),('costs', {False: 1., True: 5.}))}
    assert abs(p['none']-y.mean())<.02 and abs(p['balanced']-y.mean())<.05 and p['costs']>y.mean()+.1

@both
@pytest.mark.parametrize('n', [2, 3, 4, 7])
def test_fewer_samples_than_folds(loss, n):
    X = np.random.default_rng(n).normal(size=(n,5,6))
    m = evidence(loss).fit(X, np.arange(n)%2)
    assert np.isfinite(response(m, X)).all() and np.isfinite(m.coef_std_).all()

@pytest.mark.parametrize('shape,n', [((5,6), 40), ((1,2), 200), ((3,3), 6)])
def test_separable_labels_stay_finite(shape, n):
    X = np.random.default_rng(0).normal(size=(n,*shape))
    y = X[:,0,1]>0
    m = evidence('logistic').fit(X, y); p = m.predict_proba(X)
    assert (np.isfinite(p).all() and np.isfinite(m.decision_function(X)).all() and np.isfinite(m.coef_).all()
            and np.isfinite(m.coef_std_).all() and m.score(X, y)>=.9)

@pytest.mark.parametrize('count', [0, 4, 5000])
def test_constant_counts(count):
    X = np.random.default_rng(0).normal(size=(30,5,6))
    m = evidence('poisson').fit(X, np.full(30, count))
    p,s = m.predict(X, return_std=True)
    np.testing.assert_allclose(p, count, rtol=1e-3, atol=1e-5)
    assert np.isfinite(s).all() and np.isfinite(m.coef_std_).all()

def test_large_counts():
    rng = np.random.default_rng(0); X = rng.normal(size=(120,5,6))
    mean = 1000*np.exp(1.5*X[:,2,2])
    m = evidence('poisson').fit(X, rng.poisson(mean))
    p,s = m.predict(X, return_std=True)
    assert np.abs(np.log(p/mean)).max()<.3 and np.isfinite(s).all()

def test_spread_of_new_counts():
    rng = np.random.default_rng(0); X = rng.normal(size=(900,5,6))
    y = rng.poisson(np.exp(1+.5*X[:,2,2]))
    m = evidence('poisson').fit(X[:200], y[:200])
    p,s = m.predict(X[200:], return_std=True)
    assert abs((((y[200:]-p)/s)**2).mean()-1)<.15 and (s**2>=p).all()

@both
def test_no_signal_no_map(loss):
    rng = np.random.default_rng(1); worse = []
    for _ in range(4):
        X,y = rng.normal(size=(280,6,8)),drawn(loss, np.zeros(280), rng)
        m = evidence(loss).fit(X[:80], y[:80])
        p = response(m, X[80:]); q = y[:80].mean()
        l = lambda p: np.mean(-np.log(np.where(y[80:], p, 1-p)) if loss=='logistic' else p-y[80:]*np.log(p))
        worse.append(l(p)-l(np.full(200, q)))
    assert max(worse)<.08 and np.mean(worse)<.03

def test_more_than_one_output_of_counts(rows):
    X,y,_ = rows
    Y = np.stack([y['poisson'], y['poisson']+3], 1).astype(float)
    Y[:30,1] = np.nan
    two = evidence('poisson').fit(X, Y)
    one = evidence('poisson').fit(X[30:], Y[30:,1])
    assert two.predict(X).shape==(100,2) and np.corrcoef(two.coef_.values[...,1].ravel(),
            one.coef_.values.ravel())[0,1]>.99

@both
def test_land(loss):
    rng = np.random.default_rng(0)
    X = xr.DataArray(rng.normal(size=(120,2,7,9)), dims=('time','variable','y','x'),
                     coords=dict(y=np.linspace(-60, 60, 7), x=np.linspace(20, 340, 9))).copy()
    X[:,:,:2,:4] = np.nan
    s = np.nan_to_num(X.values)[:,0,3:5,4:7].sum((1,2))
    m = evidence(loss).fit(X, drawn(loss, s/s.std()))
    assert m.coef_.isnull()[:,:2,:4].all() and int(m.coef_std_.isnull().sum())==16
    np.testing.assert_allclose(response(m, X.fillna(1e3)), response(m, X))

@both
def test_files(loss, fitted, months, tmp_path):
    d,m = months[0],fitted[loss]; m.save(tmp_path/'a.mrtl'); again = type(m).load(tmp_path/'a.mrtl')
    np.testing.assert_allclose(response(again, d), response(m, d), rtol=1e-12)
    xr.testing.assert_identical(again.factors_, m.factors_)
    xr.testing.assert_allclose(again.coef_std_, m.coef_std_)
    if loss=='poisson':
        np.testing.assert_allclose(again.predict(d, return_std=True)[1], m.predict(d, return_std=True)[1], rtol=1e-10)

def test_a_refit_by_gradients_forgets_the_evidence(fitted, months):
    d,y,_ = months
    m = deepcopy(fitted['logistic']).set_params(method='sgd', rank=1, max_epochs=2).fit(d, y['logistic'])
    np.testing.assert_allclose(m.decision_function(d), m.transform(d).sum(1)+m.factors_.bias.item(), atol=1e-6)
    with pytest.raises(AbsentError): m.coef_std_

@pytest.mark.parametrize('case,kind,text',
                         [('one class', DataError, 'one class'), ('one class left', DataError, 'one class'),
                          ('negative counts', DataError, 'negative'), ('broken counts', DataError, 'whole numbers'),
                          ('no weight', ValueError, 'non-zero'),
    ('negative weights', DataError, 'at least zero'), ('events', ConfigError, 'for fields'),
    ('nonnegative', ConfigError, 'nonnegative'), ('window', ConfigError, 'share times'),
    ('labels of one kind', DataError, 'both must occur'), ('labels of 2', DataError, '0 and 1'),
    ('weights of zero', DataError, 'above zero')])
def test_refused(rows, case, kind, text):
    X,y,_ = rows; b,c = y['logistic'],y['poisson']; n = len(X)
    def direct(y, w=torch.ones(n)):
        fit_maps(MapData(torch.from_numpy(X[:,None]), torch.arange(n)[:,None], torch.as_tensor(y),
                         Grid((5,6)), Logistic(w, 0.)))
    with pytest.raises(kind, match=text):
        if case=='one class': evidence('logistic').fit(X, np.ones(n))
        if case=='one class left': evidence('logistic').fit(X, b, sample_weight=b.astype(float))
        if case=='negative counts': evidence('poisson').fit(X, c-5)
        if case=='broken counts': evidence('poisson').fit(X, c+.5)
        if case=='no weight': evidence('poisson').fit(X, c, sample_weight=np.zeros(n))
        if case=='negative weights': evidence('poisson').fit(X, c, sample_weight=np.linspace(-1, 1, n))
        if case=='events':
            evidence('logistic').fit(EventDesign(dict(player=torch.arange(n)%3, court=torch.arange(n)%20),
                                                 [Mode('player', 3, indexed=True),
                                                  Mode('court', 20, Grid((4,5)), True)]), b)
        if case=='nonnegative': evidence('logistic', nonnegative=('space',)).fit(X, b)
        if case=='window': evidence('poisson', window=3).fit(X, c)
        if case=='labels of one kind': direct(np.zeros(n))
        if case=='labels of 2': direct(2.*b)
        if case=='weights of zero': direct(b, torch.zeros(n))

def test_counts_that_overlap_must_say_so(months):
    d,*_ = months; storms = np.random.default_rng(3).poisson(2., len(d)+2); y = storms[2:]+storms[1:-1]+storms[:-2]
    with pytest.raises(DataError, match='window'): evidence('poisson').fit(d, y)
    assert np.isfinite(evidence('poisson', window=1).fit(d, y).predict(d)).all()

@both
@pytest.mark.parametrize('scale', [1e-3, 1., 30.])
def test_level_weights_at_any_scale(loss, scale):
    rng = np.random.default_rng(0); true = rng.normal(size=300)*.7
    y = drawn(loss, true).astype(float)
    P = np.stack([scale*true*1.4, rng.normal(size=300)*scale], 1)
    w = LIKELIHOODS[loss](torch.ones(300), 0.).weigh(P, y)
    s = lambda v: P@v
    l = lambda v: np.mean(np.logaddexp(0, s(v))-y*s(v) if loss=='logistic' else np.exp(np.minimum(s(v), 700))-y*s(v))
    assert w.min()>=0 and w.sum()<=1+1e-9 and l(w)<=min(l(np.array([a,b])) for a in np.linspace(0, 1, 41)
            for b in np.linspace(0, 1, 41) if a+b<=1)+1e-6

@both
def test_levels_vote_by_what_is_expected_out_of_fold(loss, rows, monkeypatch):
    seen = []; weigh = LaplaceLikelihood.weigh
    monkeypatch.setattr(LaplaceLikelihood, 'weigh', lambda self, P, y, base: seen.append(P) or weigh(self, P, y, base))
    X,y = torch.from_numpy(rows[0])[:,None],torch.from_numpy(rows[1][loss].astype(float))
    a,b = torch.arange(30, 100),torch.arange(30)
    data = MapData(X, torch.arange(100)[:,None], y, Grid((5,6)), LIKELIHOODS[loss](torch.ones(100), .3))
    fit = fit_maps(data, [(a, b),(b, a)])
    l,known = fit.levels[0],data.take(a)
    part = known.likelihood.settle(MapLevel([Part(p.length, p.S, p.Sigma) for p in l.parts], l.theta, 1., 0.), known)
    s,v = .3+map_scores(part.maps, part.bias, X.flatten(0, 1).flatten(1), fit.rows[b]),score_variance(part,
            fit.rows[a], [p.Z for p in part.parts], fit.rows[b])
    np.testing.assert_allclose(seen[0][:30,0], worth(s, v, loss), atol=1e-8)
    assert (np.abs(seen[0][:30,0]-s.numpy()).max()>.01)==(loss=='logistic')

@both
def test_a_part_of_the_data_has_its_part_of_the_weights(loss):
    w = torch.tensor([.3, 1., 7., 2.], dtype=torch.float64)
    data = MapData(torch.zeros(4, 1, 3, 4), torch.arange(4)[:,None], torch.ones(4), Grid((3,4)),
                   LIKELIHOODS[loss](w, -.4))
    for fold in (torch.tensor([3, 0]), torch.arange(4)>1):
        part = data.take(fold).likelihood
        assert torch.equal(part.weights, w[fold]) and part.base==-.4 and part.loss==loss

@both
def test_a_model_knows_its_loss(loss, fitted, months):
    m = fitted[loss].fitted_.model
    assert (m.loss==type(m).unpack(*m.pack(), m.full.modes).loss==loss and (m.noise()==1).all()
            and (m.score_variances(months[0])>0).all())
