"""scikit-learn's own checks of an estimator, all of them, on both estimators with default arguments (but fewer
epochs where a check comes again with another kind of array), and on the evidence method once a check."""
import warnings
import numpy as np, pandas as pd, pytest, sklearn, torch, xarray as xr
from sklearn.base import clone, is_classifier, is_regressor
from sklearn.calibration import CalibratedClassifierCV
from sklearn.experimental import enable_halving_search_cv
from sklearn.inspection import permutation_importance
from sklearn.model_selection import GridSearchCV, GroupKFold, HalvingGridSearchCV, KFold, cross_val_score, cross_validate
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.datasets import make_classification, make_regression
from sklearn.utils.estimator_checks import check_regressor_data_not_an_array, parametrize_with_checks
from mrtl.core import DataError
from mrtl.designs import FieldDesign, Mode
from mrtl.estimators import MRTLClassifier, MRTLRegressor
from mrtl.events import EventDesign
from mrtl.grids import Grid
from mrtl.splits import BlockSplit

def known(estimator):
    return dict(check_sample_weight_equivalence_on_dense_data="its folds are drawn by rows (and weights of a "
                "squared loss are relative precisions), so a row of weight 2 is not two rows") if getattr(estimator,
            'method', '')=='evidence' else {}

@parametrize_with_checks([MRTLRegressor(), MRTLClassifier(), MRTLRegressor(method='evidence'),
                          MRTLClassifier(method='evidence')], expected_failed_checks=known)
def test_check(estimator, check):
    if again := check.keywords or check.func is check_regressor_data_not_an_array:
        estimator = clone(estimator).set_params(max_epochs=20, lr=.05)
    # the folds that choose a rank are drawn by rows, so a row of weight 2 is not two rows; for a given rank it is
    if check.func.__name__=='check_sample_weight_equivalence_on_dense_data' and estimator.method!='evidence':
        estimator = clone(estimator).set_params(rank=1)
    if again and estimator.method == 'evidence': pytest.skip('evidence never sees the arrays that came in')
    check(estimator)

def test_kinds():
    assert (is_regressor(MRTLRegressor()) and is_classifier(MRTLClassifier())
            and MRTLClassifier().__sklearn_tags__().classifier_tags.multi_class)

def test_searched_and_piped():
    X,y = make_regression(120, 8, noise=1., random_state=0)
    found = GridSearchCV(make_pipeline(StandardScaler(), MRTLRegressor(rank=1)),
                         dict(mrtlregressor__l2=[1e-3, 1e3]), cv=2).fit(X, y)
    assert found.best_params_ == dict(mrtlregressor__l2=1e-3) and found.best_score_ > .95
    X,y = make_classification(120, 8, class_sep=2., random_state=0)
    assert cross_val_score(MRTLClassifier(rank=1), X, y, cv=2).mean() > .85

def test_clones_are_unfitted_twins():
    m = MRTLRegressor(rank=3, schedule=[(1, 2), (1, 4)], nonnegative=('space',), sigma=.1); c = clone(m)
    assert c is not m and c.get_params() == m.get_params() and repr(c) == repr(m)

# ---- designs and labelled data in scikit-learn's own tools

T = 63

@pytest.fixture(scope='module')
def months():
    rng = np.random.default_rng(0)
    X = xr.DataArray(rng.normal(size=(T, 4, 5)), dict(time=pd.date_range('1990', periods=T, freq='MS'),
            lat=np.arange(4.), lon=np.arange(5.)), name='sst')
    d = FieldDesign.from_xarray(X, leads=3); y = X.values[2:-1,1,2]-X.values[1:-2,2,2]+.3*rng.normal(size=len(d))
    return X,d,y

@pytest.fixture(scope='module')
def events():
    rng = np.random.default_rng(1)
    idx = dict(who=rng.integers(6, size=300), where=rng.integers(8, size=300))
    A,B = rng.normal(size=6),rng.normal(size=8)
    return EventDesign(idx, [Mode('who', 6, indexed=True),Mode('where', 8, Grid((2,4)),
            indexed=True)]),A[idx['who']]*B[idx['where']]+.1*rng.normal(size=300)

FAST = dict(rank=1, max_epochs=10, lr=.1, optimizer='adam')

def test_designs_are_indexed_by_rows(months, events):
    _,d,_ = months
    for v in (d, events[0]):
        table = np.asarray(v); assert len(v)==v.shape[0]==len(table)
        for key in (slice(2, 9), [3, 1], np.arange(len(v))%7==0, 5, -1, torch.tensor([0, 4])):
            rows = np.atleast_1d(np.arange(len(v))[np.asarray(key) if torch.is_tensor(key) else key])
            assert np.array_equal(np.asarray(v[key]), table[rows]) and len(v[key])==len(rows)
        assert len(v[[1, 2], ...])==2
        with pytest.raises(DataError, match='indexed by rows only'): v[:,0]
        with pytest.raises(IndexError): v[len(v)]

def test_cross_validation_of_designs(months, events):
    _,d,y = months; g = np.arange(len(d))//6
    by_hand = [MRTLRegressor(method='evidence').fit(d.take(a), y[a]).score(d.take(b), y[b])
               for a,b in BlockSplit(2).split(d)]
    np.testing.assert_allclose(cross_val_score(MRTLRegressor(method='evidence'), d, y, cv=BlockSplit(2)), by_hand)
    assert np.isfinite(cross_val_score(MRTLRegressor(method='evidence'), d, y, groups=g, cv=GroupKFold(2))).all()
    assert cross_val_score(MRTLRegressor(**FAST), *events, cv=KFold(2)).mean()>.5

def test_halving_of_designs(events):
    found = HalvingGridSearchCV(MRTLRegressor(**FAST), dict(l2=[1e-3, 10.]), cv=KFold(2),
                                min_resources=100).fit(*events)
    assert found.best_params_==dict(l2=1e-3)

def test_permutation_importance_of_designs(months, events):
    _,d,y = months; m = MRTLRegressor(method='evidence').fit(d, y)
    by = permutation_importance(m, d, y, n_repeats=2, random_state=0).importances_mean.reshape(3, 4, 5)
    assert sorted(np.argwhere(by>.3).tolist())==[[0, 1, 2], [1, 2, 2]]
    e,z = events
    m = MRTLRegressor(**FAST|dict(max_epochs=40)).fit(e, z)
    assert (permutation_importance(m, e, z, n_repeats=2).importances_mean>.5).all()
    assert np.array_equal(m.predict(np.asarray(e)), m.predict(e))
    with pytest.raises(DataError, match='an array without names'): m.predict(np.zeros((3, 5)))

def test_a_search_over_a_setting_of_one_way_says_so(months):
    _,d,y = months; grid = dict(smooth=[.01, 100.])
    with pytest.warns(UserWarning, match="method='evidence' does not read smooth"):
        GridSearchCV(MRTLRegressor(method='evidence'), grid, cv=KFold(2), refit=False).fit(d, y)
    with pytest.warns(UserWarning, match="smooth was set, which only gradients read, so "
                      "method='auto' means method='sgd'"):
        found = GridSearchCV(MRTLRegressor(rank=1), grid, cv=KFold(2)).fit(d[:40], y[:40])
    assert found.best_estimator_.method_=='sgd' and np.ptp(found.cv_results_['mean_test_score'])>.01
    with pytest.warns(UserWarning, match='gradients do not read window'):
        MRTLRegressor(method='sgd', window=2, **FAST).fit(d, y)
    with warnings.catch_warnings():
        warnings.simplefilter('error'); MRTLRegressor().fit(d, y)
        MRTLRegressor(**FAST).fit(d, y)

def test_metadata_is_routed(months):
    _,d,y = months; w,g = np.linspace(1, 2, len(d)),np.arange(len(d))//6
    with sklearn.config_context(enable_metadata_routing=True):
        m = MRTLRegressor(method='evidence').set_fit_request(sample_weight=True,
                groups=True).set_score_request(sample_weight=True)
        got = cross_validate(m, d, y, params=dict(sample_weight=w, groups=g), cv=GroupKFold(2))['test_score']
    want = [MRTLRegressor(method='evidence').fit(d[a], y[a], sample_weight=w[a], groups=g[a]).score(d[b], y[b],
            w[b]) for a,b in GroupKFold(2).split(d, groups=g)]
    np.testing.assert_allclose(got, want)

def test_names_of_components(months):
    X,d,y = months
    m = MRTLRegressor(method='evidence', rank=2).set_output(transform='pandas').fit(d, y)
    out = m.transform(d)
    assert list(out.columns)==list(m.get_feature_names_out())==['component1','component2'] and isinstance(out,
            pd.DataFrame)
    assert MRTLRegressor().set_output(transform='pandas').fit(X[2:-1], y).transform(X).shape==(T, 1)

def test_calibration_on_labelled_fields(months):
    X,_,y = months; X,wet = X[2:-1],np.where(y>0, 'wet', 'dry')
    for labels in (wet, xr.DataArray(wet, dims='time', coords=dict(time=X.time))):
        c = CalibratedClassifierCV(MRTLClassifier(method='evidence'), cv=KFold(2)).fit(X, labels)
        p = c.predict_proba(X)
        assert p.shape==(len(X), 2) and np.allclose(p.sum(1), 1) and (c.predict(X)==wet).mean()>.7
    m = MRTLClassifier(method='evidence').fit(X,
                                              xr.DataArray(wet, dims='time', name='weather',
            coords=dict(time=X.time), attrs=dict(source='gauge')))
    assert isinstance(m.decision_function(X),
                      np.ndarray) and m.predict(X).name=='weather' and m.predict(X).attrs==dict(source='gauge')

def test_names_and_units_of_targets_come_back(months, tmp_path):
    X,d,y = months; X = X[2:-1]; time = dict(time=X.time)
    both = xr.Dataset(dict(rain=('time', y, dict(units='mm', level=np.float32(2))),
                           flow=('time', 2*y, dict(units='m3 s-1'))), time, dict(source='gauges'))
    m = MRTLRegressor(method='evidence').fit(X, both); p,s = m.predict(X, return_std=True); m.save(tmp_path/'m.mrtl')
    for v in (p, s, MRTLRegressor.load(tmp_path/'m.mrtl').predict(X)):
        assert list(v)==['rain','flow'] and v.attrs==dict(source='gauges') and v.rain.attrs==dict(units='mm',
                level=2.) and v.flow.attrs['units']=='m3 s-1'
    assert m.score(X, both)==m.score(X, both[['flow','rain']])
    with pytest.raises(DataError, match='each variable must be one output'):
        MRTLRegressor().fit(X, both.assign(map=(('time','x'), np.ones((len(y), 2)))))
    one = MRTLRegressor().fit(X, both.rain)
    assert (one.predict(X).name=='rain' and one.predict(X).attrs['units']=='mm'
            and isinstance(one.fitted_.scores(one._design(X)[0]), np.ndarray))
    table = MRTLRegressor(method='evidence').fit(X, both.to_dataframe())
    assert list(table.predict(X).output.values)==['rain','flow']
    assert (MRTLRegressor().fit(X, both.rain.to_series()).predict(X).name=='rain'
            and isinstance(MRTLRegressor(method='evidence').fit(X.values, y).predict(X.values), np.ndarray))
