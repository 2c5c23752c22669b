"""What a user may take for granted of every way to learn: the same fit twice, inputs left as they were, copies that
predict the same,
and no say for the order of the rows where dates are known."""
import copy, pickle
import numpy as np, pandas as pd, pytest, torch, xarray as xr
from sklearn.base import clone
from mrtl.bootstrap import block_bootstrap
from mrtl.designs import FieldDesign
from mrtl.estimators import MRTLClassifier, MRTLRegressor
from mrtl.events import EventDesign
from mrtl.grids import Grid
from mrtl.nodes import Nodes
from mrtl.terms.spec import Term

RNG = np.random.default_rng(0)
N = 60
X = xr.DataArray(RNG.normal(size=(N, 2, 4, 6)).cumsum(2), dict(time=pd.date_range('1990-01', periods=N, freq='MS'),
        variable=['sst', 'slp'], lat=np.arange(-15., 25, 10), lon=np.arange(185., 245, 10)),
                 ('time', 'variable', 'lat', 'lon'), attrs=dict(units='K'))
X.lat.attrs['units'] = 'degrees_north'
Y = pd.Series(X.values[:, 0, 1:3, 2:4].mean((1, 2))+.3*RNG.normal(size=N), X.time.values, name='flow')
TABLE = pd.DataFrame(dict(player=RNG.choice(['ann', 'bob', 'cat'], 120), x=RNG.uniform(0, 8, 120),
                          y=RNG.uniform(0, 8, 120), d=RNG.uniform(0, 4, 120)))
GOAL = (RNG.random(120)<np.where(TABLE.player=='ann', .8, .2)).astype(int)
EVENTS = EventDesign.from_table(TABLE, dict(player='player', court=('x', 'y'), distance='d'),
                                dict(court=Grid((4, 4), (0, 8), (0, 8)), distance=Nodes(np.linspace(0, 4, 5))),
                                dict(player=True))
PRODUCT = EventDesign.from_table(TABLE, dict(player='player', court=('x', 'y')),
                                 dict(court=Grid((4, 4), (0, 8), (0, 8))), dict(player=True))
FIELDS = FieldDesign.from_xarray(X, leads=2, dtype=torch.float64)
SUM = dict(terms=[Term('variable', ridge=.1), Term(('variable', 'space'), smooth=1., ridge=.1)], rank=1)
W = np.linspace(.5, 2, N)
CASES = dict( # model, inputs, targets, weights
    sgd=(MRTLRegressor(rank=1, method='sgd', max_epochs=2, schedule=[(2, 3)]), X, Y, W),
    adam=(MRTLRegressor(rank=2, method='sgd', optimizer='adam', max_epochs=3), X, Y, W),
    evidence=(MRTLRegressor(rank=2, method='evidence'), X, Y, W),
    evidence_labels=(MRTLClassifier(rank=1, method='evidence'), X, (Y>0).map({True: 'wet', False: 'dry'}), None),
    leads=(MRTLRegressor(rank=1, method='evidence'), FIELDS, Y.values[2:], None),
    terms=(MRTLRegressor(**SUM), X, Y, W),
    events=(MRTLClassifier(rank=1, method='sgd', main_effects=True, max_epochs=3, optimizer='adam'), PRODUCT, GOAL,
            None),
    event_terms=(MRTLClassifier(terms=[Term('player', ridge=.1),
                                       Term(('player', 'court'), rank=1, smooth=.1, ridge=.1),
                                       Term('distance', smooth=.1, ridge=.1)]), EVENTS, GOAL, None))

def check_same(a, b):
    "Values to the bit, names, attributes, and the order of everything."
    assert type(a) is type(b)
    if isinstance(a, xr.DataArray):
        xr.testing.assert_identical(a, b)
        assert a.dims==b.dims and a.values.tobytes()==b.values.tobytes() and all(a[k].attrs==b[k].attrs
                for k in a.coords)
    elif isinstance(a, pd.Series): pd.testing.assert_series_equal(a, b, check_exact=True)
    elif isinstance(a, (FieldDesign, EventDesign)):
        assert repr(a.modes)==repr(b.modes) and len(a)==len(b); x,y = a.batch(),b.batch()
        for u,v in ((x.u, y.u), (x.at, y.at), *((x.idx[k], y.idx[k]) for k in x.idx)):
            assert u is v is None or torch.equal(*(t if isinstance(t, torch.Tensor)
                                                   else torch.cat([p.flatten().double() for p in t]) for t in (u, v)))
    else: np.testing.assert_array_equal(a, b)

def scores(m, x): return np.asarray(m.predict_proba(x) if isinstance(m, MRTLClassifier) else m.predict(x))

@pytest.fixture(scope='module', params=CASES)
def case(request):
    m,x,y,w = CASES[request.param]; before = copy.deepcopy((x, y, w))
    return request.param,clone(m).fit(x, y, sample_weight=w),x,y,w,before

def test_a_second_fit_is_the_first(case):
    _,m,x,y,w,_ = case; first = scores(m, x); again = clone(m).fit(x, y, sample_weight=w)
    np.testing.assert_array_equal(scores(again, x), first)
    # nothing is left of the fit before
    np.testing.assert_array_equal(scores(again.fit(x, y, sample_weight=w), x), first)

def test_copies_predict_the_same(case):
    name,m,x,*_ = case; want = scores(m, x)
    for twin in copy.deepcopy(m),pickle.loads(pickle.dumps(m)):
        np.testing.assert_array_equal(scores(twin, x), want); assert repr(twin)==repr(m)
        if name not in ('terms', 'event_terms'): xr.testing.assert_identical(twin.coef_, m.coef_)
        twin.factors_
    assert not hasattr(clone(m), 'fitted_') and repr(clone(m).get_params())==repr(m.get_params())

def test_copies_of_designs(case):
    _,m,x,*_ = case
    if isinstance(x, xr.DataArray): x = FieldDesign.from_xarray(x, dtype=torch.float64)
    coarse = x.at((2, 3)) if isinstance(x,
                                        FieldDesign) else x.at({k: v
            for k,v in dict(court=(2, 2), distance=2).items() if k in [m.name for m in x.modes]})
    for d in x,x.take([3, 1]),coarse:
        for twin in copy.deepcopy(d),pickle.loads(pickle.dumps(d)): check_same(twin, d)
    np.testing.assert_array_equal(scores(m, pickle.loads(pickle.dumps(x))), scores(m, x))

def test_designs_that_share_fields_still_do():
    a,b = pickle.loads(pickle.dumps((FIELDS, FIELDS.take([1, 2]))))
    assert a.fields is b.fields and a.fields is not FIELDS.fields and a.at((2, 3)).fields is b.at((2, 3)).fields

def test_inputs_are_left_as_they_were(case, tmp_path):
    "By every use of them: bytes, attributes, names and the order of everything."
    name,m,x,y,w,before = case
    scores(m, x); m.transform(x); m.score(x, y, sample_weight=w)
    if name in ('sgd', 'leads', 'event_terms'): m.report(tmp_path/'r.html', x, y) # pictures take a second
    if 'terms' not in name: block_bootstrap(m, x, y, np.arange(len(x))//10, 1, sample_weight=w)
    if name!='leads' and isinstance(m, MRTLRegressor) and m.method=='sgd':
        clone(m).fit(x, y, sample_weight=w, valid=(x, y, w), groups=np.arange(len(x))//10)
    for now,then in zip((x, y, w), before): check_same(now, then)

# ---- order of rows

MIXED = np.random.default_rng(1).permutation(N)
MANY = np.random.default_rng(2).permutation(240)
BIG = xr.DataArray(RNG.normal(size=(240, 2, 4, 6)).cumsum(2),
                   dict(time=pd.date_range('1990-01', periods=240, freq='MS'), variable=['sst', 'slp']),
                   ('time', 'variable', 'lat', 'lon'))
BIG_Y = BIG.values[:, 0, 1:3, 2:4].mean((1, 2))+.3*RNG.normal(size=240)
ORDERLESS = dict(lbfgs=MRTLRegressor(rank=2, method='sgd', optimizer='lbfgs', max_epochs=3,
                                     schedule=[(2, 3), (4, 6)]), adam=MRTLRegressor(rank=2, method='sgd',
        optimizer='adam', max_epochs=4), evidence=MRTLRegressor(rank=2, method='evidence'), terms=MRTLRegressor(**SUM))

@pytest.mark.parametrize('way', ORDERLESS)
def test_the_order_of_dated_rows_has_no_say(way):
    """Not to the bit, also where validation rows and folds are cut and samples come in small batches; weights and
    groups go with their rows."""
    x,y,at,w = (BIG, BIG_Y, MANY, np.linspace(.5, 2, 240)) if way in ('lbfgs', 'adam') else (X, Y.values, MIXED, W)
    a,b = (clone(ORDERLESS[way]).fit(x[i], y[i], sample_weight=w[i]) for i in (np.arange(len(x)), at))
    np.testing.assert_array_equal(scores(b, x), scores(a, x)); assert np.std(scores(a, x))>.1*np.std(y)
    if way=='evidence':
        d = FieldDesign.from_xarray(x, dtype=torch.float64)
        c = clone(ORDERLESS[way]).fit(d.take(at), y[at], sample_weight=w[at], groups=None)
        np.testing.assert_array_equal(scores(c, x), scores(a, x))

def test_groups_go_with_dated_rows():
    g = np.arange(240)//30; m = ORDERLESS['adam']
    a,b = (clone(m).fit(BIG[i], BIG_Y[i], groups=g[i]) for i in (np.arange(240), MANY))
    np.testing.assert_array_equal(scores(b, BIG), scores(a, BIG))
    assert not np.array_equal(scores(clone(m).fit(BIG, BIG_Y), BIG), scores(a, BIG))

def test_a_window_of_dated_rows_in_any_order():
    "Which targets overlap is told by dates, not by rows."
    sums = Y.rolling(3).sum().values[2:]; x = X[2:]
    at = MIXED[MIXED<len(x)]
    m = MRTLRegressor(rank=1, method='evidence', window=3)
    np.testing.assert_array_equal(m.fit(x[at], sums[at]).predict(x), m.fit(x, sums).predict(x))

# Adam divides the rounding of the bias's gradient by itself: the maps agree, the bias to a step
@pytest.mark.parametrize('way,tol', [('lbfgs', 1e-6), ('adam', 2e-3)])
def test_the_order_of_rows_without_dates_has_no_say_in_full_batches(way, tol):
    m = clone(ORDERLESS[way]).set_params(batch_size=N, dtype='float64', schedule=[(2, 3)], rank=1,
                                         max_epochs=30 if way=='lbfgs' else 8)
    a,b = (clone(m).fit(X.values[i], Y.values[i]) for i in (np.arange(N), MIXED))
    np.testing.assert_allclose(b.coef_, a.coef_, rtol=1e-6, atol=1e-9*np.abs(a.coef_).max())
    np.testing.assert_allclose(b.predict(X.values), a.predict(X.values), atol=tol*Y.std())
