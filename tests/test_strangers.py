"""Where readers who knew the README and the docs only stumbled: labels of samples, which dimensions are the map,
missing values and intervals."""
import numpy as np, pandas as pd, pytest, torch, xarray as xr
from mrtl import EventDesign, FieldDesign, MRTLClassifier, MRTLRegressor, simulate_field
from mrtl.core import DataError
from mrtl.fitting import score_weights
from mrtl.problems import interval_of
from mrtl.samples import by_label
from mrtl.tidy import arranged

rng = np.random.default_rng(0)
N = 60
A = rng.normal(size=(N, 4, 5)); S = A[:,1:3,1:3].sum((1,2))
QUICK = dict(rank=1, schedule=[(4, 5)], method='sgd', max_epochs=3)
NAMES = dict(numbers=np.arange(N), text=np.array([f'T{i:02d}' for i in range(N)]), later=np.arange(N)+5000)
TARGETS = dict(text=np.where(S>0, 'go', 'stop'), flag=S>0, whole=(S>0).astype(int), number=S)

def fields(names, dim='trial'): return xr.DataArray(A, {dim: NAMES[names]}, (dim,'y','x'))

# ---- labels of samples

@pytest.mark.parametrize('names', NAMES)
@pytest.mark.parametrize('form', ['array','series','design'])
def test_rows_are_found_by_their_labels(names, form):
    X,order = fields(names),rng.permutation(N)
    for y in TARGETS.values():
        mixed = pd.Series(y[order], NAMES[names][order])
        if form=='array': mixed = mixed.rename_axis('trial').to_xarray()
        found = by_label(mixed, FieldDesign.from_xarray(X) if form=='design' else X)
        np.testing.assert_array_equal(np.asarray(found), y)
        with pytest.raises(DataError, match='1 of 60 labels of X'): by_label(mixed[1:], X)

def test_rows_without_labels_are_taken_as_they_stand():
    for X in fields('later'), fields('text'), A, fields('text', 'time').drop_vars('time'):
        for y in S, list(S), pd.Series(S), xr.DataArray(S, dims='trial'): assert by_label(y, X) is y
    # a slice of the index that pandas gives by itself
    assert by_label(pd.Series(S)[20:], fields('text')[20:]).iloc[0]==S[20]
    dated = fields('text', 'time').assign_coords(time=pd.date_range('2000', periods=N))
    assert by_label(s := pd.Series(S, NAMES['later']), dated) is s            # numbers that ascend are no dates
    with pytest.raises(DataError, match='must have the same time'): by_label(s[::-1], dated)
    text = pd.Series(S[::-1], [str(k) for k in range(N)][::-1])
    np.testing.assert_array_equal(by_label(text, fields('numbers')), S)       # '17' is 17
    table = pd.DataFrame(A.reshape(N, -1), NAMES['text'])
    np.testing.assert_array_equal(by_label(pd.Series(S, NAMES['text'])[::-1], table), S)

@pytest.mark.parametrize('kind,y', [(MRTLClassifier, 'text'), (MRTLClassifier, 'whole'), (MRTLRegressor, 'number')])
def test_estimators_find_rows_by_labels(kind, y):
    X,names = fields('text'),NAMES['text']; y = xr.DataArray(TARGETS[y], dict(trial=names), ('trial',))
    m = kind(**QUICK).fit(X, y); r = m.score(X, y)
    turned = kind(**QUICK).fit(X, y[::-1], valid=(X, y[::-1]))
    np.testing.assert_array_equal(turned.predict(X), kind(**QUICK).fit(X, y, valid=(X, y)).predict(X))
    assert m.score(X, y[::-1])==m.score(X, y.to_series()[::-1])==r
    other = y.assign_coords(trial=[f'U{i}' for i in range(N)]); beside = other.copy(data=S)
    refused = [lambda: m.score(X, other), lambda: kind(**QUICK).fit(X, other),
               lambda: kind(**QUICK).fit(X[1:], y[:-1]), lambda: kind(**QUICK).fit(X, y, valid=(X, other)),
        lambda: m.score(X, y, sample_weight=beside)]
    refused += [lambda k=k: kind(**QUICK).fit(X, y, **{k: beside})
                for k in ('sample_weight','groups','covariates','offset')]
    for call in refused:
        with pytest.raises(DataError, match='labels of X .trial.'): call()

# ---- which dimensions are what

def test_a_projected_map_may_carry_the_places_of_its_cells():
    place = (('y','x'), np.zeros((4, 5)))
    X = fields('numbers').assign_coords(y=np.arange(4)*5e3, x=np.arange(5)*5e3)
    assert FieldDesign.from_xarray(X.assign_coords(lat=place, longitude=place)).grid.shape==(4, 5)
    # no axes, or axes that count
    for curved in fields('numbers'), fields('numbers').assign_coords(y=range(4), x=range(1, 6)):
        with pytest.raises(DataError, match='a curved grid'): arranged(curved.assign_coords(lat=place, lon=place))

def test_a_doubtful_map_is_told(recwarn):
    cube = xr.DataArray(rng.normal(size=(20, 5, 6, 3, 2)), dict(window=[0, 100, 200], band=[6, 40]),
                        ('trial','ap','ml','window','band'))
    with pytest.warns(UserWarning, match=r'window \(3\) and band \(2\).*transpose') as told:
        MRTLRegressor(**QUICK|dict(schedule=[(3, 2)])).fit(cube, S[:20])
    assert sum('No name tells' in str(w.message) for w in told)==1
    recwarn.clear()
    FieldDesign.from_xarray(cube.rename(ap='y', ml='x'))
    FieldDesign.from_xarray(cube.transpose('trial','window','band','ap','ml'))
    assert not [w for w in recwarn if 'No name tells' in str(w.message)]
    with pytest.warns(UserWarning):
        for bad in cube*np.nan, cube.assign_coords(window=list('abc')):
            with pytest.raises(DataError, match=r'window \(3\) and band \(2\)'): FieldDesign.from_xarray(bad)
    with pytest.raises(DataError, match='samples of X are along ap'):
        MRTLRegressor().fit(cube.rename(window='x', band='y').transpose('ap','trial',...), S[:20])
    with pytest.raises(DataError, match='samples of X are along ap'):
        MRTLClassifier().fit(cube.rename(window='x', band='y').transpose('ap','trial',...), S[:20]>0)

def test_variables_of_trials_are_no_samples():
    assert arranged(xr.Dataset(dict(a=fields('text'), b=fields('text')))).dims==('trial','variable','y','x')

def test_a_design_says_what_it_holds():
    X = fields('text', 'time').assign_coords(time=pd.date_range('2000', periods=N))
    assert (repr(FieldDesign.from_xarray(X, leads=2))=='FieldDesign(58 samples, lead 2, space 4x5, 2000-01-03 '
            '00:00:00 to 2000-02-29 00:00:00)')
    assert repr(EventDesign.from_table(pd.DataFrame(dict(who=list('abb'))),
                                       dict(who='who')))=='EventDesign(3 samples, who 2)'

# ---- what is missing makes intervals wider

@pytest.fixture(scope='module')
def cloudy():
    "A record with holes, its targets, and the same fields without any."
    sim = simulate_field(n=1200, shape=(6, 8), leads=2, variables=1, rank=1, seed=6); X = sim.X.isel(variable=0)
    seen = lambda share: FieldDesign.from_xarray(X.where(np.random.default_rng(1).random(X.shape)>=share), leads=2,
                                                 dtype=torch.float64, missing='keep', grid=grid)
    grid = FieldDesign.from_xarray(X).grid
    return seen,sim.y.values[2:]

TRAIN,NEW = np.arange(250),np.arange(250, 1190)

@pytest.mark.parametrize('how', ['climatology','conditional'])
def test_intervals_widen_where_values_are_missing(how, cloudy, tmp_path):
    seen,y = cloudy; m = MRTLRegressor(rank=1, method='evidence', missing=how).fit(seen(.1).take(TRAIN), y[TRAIN])
    wide = []
    for share in 0., .1, .5, 1.:
        p,std = m.predict(seen(share).take(NEW), return_std=True); wide.append(std.mean())
        assert .9<np.mean(np.abs(y[NEW]-p)<1.96*std)<.985, share
    assert wide[0]<wide[1]<wide[2]<wide[3] and .8<wide[3]/y.std()<1.15
    m.save(tmp_path/'m')
    np.testing.assert_array_equal(MRTLRegressor.load(tmp_path/'m').predict(seen(1.).take(NEW), return_std=True)[1], std)

def test_intervals_of_gradients_widen_too(cloudy):
    seen,y = cloudy; held = NEW[:300]
    m = MRTLRegressor(rank=1, method='sgd', missing='climatology', max_epochs=40).fit(seen(.1).take(TRAIN), y[TRAIN])
    wide = []
    for share in .1, .5, 1.:
        d = seen(share).take(NEW[300:])
        found = interval_of('regression', m.predict(d), None,
                            (y[held], m.predict(seen(.1).take(held))), m.filled_variance(d))
        wide.append(found.std.mean())
        assert .9<np.mean((y[NEW[300:]]>found.lower)&(y[NEW[300:]]<found.upper))<.985, share
    assert wide[0]<wide[1]<wide[2]

def test_weights_of_all_cells_give_the_score():
    X = xr.DataArray(rng.normal(size=(N, 2, 5, 7)), dims=('time','variable','y','x')); u = (X.values/35).reshape(N, -1)
    m = MRTLRegressor(rank=1, method='sgd', schedule=[(2, 3), (4, 4)], max_epochs=2).fit(X, X.values[:,0].mean((1, 2)))
    w = score_weights(m.fitted_, FieldDesign.from_xarray(X).modes)
    np.testing.assert_allclose(np.diff(u@w.reshape(-1, 1).numpy(), axis=0)[:,0], np.diff(m.predict(X)), atol=1e-8)
