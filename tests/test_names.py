"""Names are checked at every entry: another order is put right, other names are refused; and magnitudes are judged
against themselves."""
import numpy as np, pandas as pd, pytest, torch, xarray as xr
from mrtl.bootstrap import block_bootstrap
from mrtl.core import ConfigError, DataError, MRTLError
from mrtl.designs import FieldDesign
from mrtl.estimators import MRTLClassifier, MRTLRegressor
from mrtl.events import EventDesign
from mrtl.grids import Grid
from mrtl.samples import target_scale

N = 120
TIME = pd.date_range('1990-01', periods=N, freq='MS')
RNG = np.random.default_rng(0)
X = xr.DataArray(RNG.normal(size=(N, 2, 3, 4, 6)).cumsum(3), dict(time=TIME, variable=['sst', 'slp'], lead=[1, 2, 3],
    lat=np.arange(-20., 20, 10), lon=np.arange(100., 160, 10)), ('time', 'variable', 'lead', 'lat', 'lon'))
Y = X.values[:,0,1,1:3,2:5].mean((1, 2))+.1*RNG.normal(size=N)

def model(way='evidence'): return MRTLRegressor(rank=2, method=way, max_epochs=4)

@pytest.fixture(scope='module')
def fitted(): return {way: model(way).fit(X, Y) for way in ('evidence', 'sgd')}

SAME = {
    'variables in another order': lambda x: x.sel(variable=['slp', 'sst']),
    'leads in another order': lambda x: x.sel(lead=[3, 1, 2]),
    'latitudes from north to south': lambda x: x.isel(lat=slice(None, None, -1)),
    'map before features': lambda x: x.transpose('time', 'lat', 'lon', 'variable', 'lead'),
    'lon before lat': lambda x: x.transpose('time', 'variable', 'lead', 'lon', 'lat'),
    'time last': lambda x: x.transpose('lat', 'lon', 'variable', 'lead', 'time'),
    'features exchanged': lambda x: x.transpose('time', 'lead', 'variable', 'lat', 'lon'),
    'longitudes a turn further': lambda x: x.assign_coords(lon=x.lon+360),
    'a Dataset of variables': lambda x: x.to_dataset('variable'),
    'a Dataset in another order': lambda x: x.to_dataset('variable')[['slp', 'sst']],
    'lazy': lambda x: x.chunk(time=30),
}
@pytest.mark.parametrize('way', ['evidence', 'sgd'])
@pytest.mark.parametrize('change', SAME)
def test_the_same_data_in_another_order(fitted, change, way):
    m,x = fitted[way],SAME[change](X)
    np.testing.assert_allclose(np.asarray(m.predict(x)), np.asarray(m.predict(X)), rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(np.asarray(m.transform(x)), np.asarray(m.transform(X)), rtol=1e-9, atol=1e-12)
    assert m.score(x, Y)==pytest.approx(m.score(X, Y), abs=1e-9)

OTHER = {
    'foreign variables': lambda x: x.assign_coords(variable=['a', 'b']),
    'one foreign variable': lambda x: x.assign_coords(variable=['sst', 'air']),
    'a variable twice': lambda x: x.sel(variable=['sst', 'sst']),
    'other leads': lambda x: x.assign_coords(lead=[2, 3, 4]),
    'fewer leads': lambda x: x.isel(lead=[0, 1]),
    'another feature': lambda x: x.rename(lead='level'),
    'another grid': lambda x: x.assign_coords(lat=x.lat+5),
    'no names': lambda x: x.values,
    'only one variable': lambda x: x.isel(variable=[0]),
    'numbers for names': lambda x: x.assign_coords(variable=[0, 1]),
    'complex': lambda x: x+0j,
    'text': lambda x: x.astype(str),
}
WORD = { # What the error must tell
    'foreign variables': 'labels a, b, but .* sst, slp', 'one foreign variable': 'labels air, but',
    'a variable twice': 'twice|modes', 'other leads': 'labels 4, but|modes', 'fewer leads': 'modes',
    'another feature': r"modes (variable, level|\['variable', 'level')", 'another grid': 'grid|lies on Grid',
    'no names': 'without names|modes|fitted on', 'only one variable': 'modes',
    'numbers for names': 'labels 0, 1, but', 'complex': 'complex128', 'text': 'type <U'}
@pytest.mark.parametrize('change', OTHER)
def test_other_data_are_refused(fitted, change):
    x = OTHER[change](X)
    for use in (fitted['sgd'].predict, fitted['sgd'].transform, lambda x: fitted['evidence'].score(x, Y),
                lambda x: model('sgd').fit(X, Y, valid=(x, Y)),
                lambda x: block_bootstrap(fitted['sgd'], x, Y, np.arange(N)//12, n=1)):
        with pytest.raises(DataError, match=WORD[change]): use(x)

def test_valid_in_another_order_is_put_right():
    a,b = (model('sgd').fit(X[:80], Y[:80], valid=(x, Y[80:])) for x in (X[80:], X[80:].sel(variable=['slp', 'sst'])))
    np.testing.assert_array_equal(a.coef_, b.coef_)

def test_a_design_in_another_order():
    d = lambda x: FieldDesign.from_xarray(x, dtype=torch.float64)
    m = model().fit(d(X), Y)
    np.testing.assert_allclose(m.predict(d(X.sel(variable=['slp', 'sst'], lead=[2, 1, 3]))), m.predict(d(X)), rtol=1e-9)
    with pytest.raises(DataError, match='labels a, b'): m.predict(d(X.assign_coords(variable=['a', 'b'])))

# ---- events

TABLE = pd.DataFrame(dict(player=RNG.choice(['ann', 'bob', 'cat'], 600), x=RNG.uniform(0, 8, 600),
                          y=RNG.uniform(0, 8, 600)))
GOAL = (RNG.random(600)<np.where(TABLE.player=='ann', .9, .1)).astype(int)
def events(t, **kw):
    return EventDesign.from_table(t, dict(player='player', court=('x', 'y')),
                                  grids=dict(court=Grid((8, 8), (0, 8), (0, 8))), **kw)

@pytest.fixture(scope='module')
def shots(): return MRTLClassifier(rank=2, max_epochs=20).fit(events(TABLE), GOAL)

PLAYERS = [['bob', 'cat'], ['cat'], ['cat', 'bob', 'ann'], ['ann', 'cat'], ['bob', 'bob'], ['ann', 'bob', 'cat']]
@pytest.mark.parametrize('names', PLAYERS, ids=' '.join)
def test_players_by_name(shots, names):
    t = pd.DataFrame(dict(player=names, x=4., y=4.))
    right = shots.predict_proba(events(t, labels=dict(player=['ann', 'bob', 'cat'])))
    np.testing.assert_array_equal(shots.predict_proba(events(t)), right)
    np.testing.assert_array_equal(shots.predict_proba(events(t, labels=dict(player=['cat', 'zoe', 'bob', 'ann']))),
                                  right)

def test_an_unseen_player_is_named(shots):
    t = pd.DataFrame(dict(player=['bob', 'dan'], x=4., y=4.))
    with pytest.raises(DataError, match='labels dan, but .* ann, bob, cat, in 1 places: leave those rows out'):
        shots.predict_proba(events(t))
    assert shots.predict_proba(events(t, like=events(TABLE))).shape==(2, 2)
    with pytest.raises(DataError, match='dan'):
        MRTLClassifier(max_epochs=1).fit(events(TABLE), GOAL, valid=(events(t), [0, 1]))

# ---- targets by date

S = pd.Series(Y, TIME)
ALIGNED = {
    'the same': S, 'last first': S[::-1], 'shuffled': S.sample(frac=1, random_state=0),
    'a DataArray, last first': S[::-1].rename_axis('time').to_xarray(),
    'months': S.set_axis(TIME.to_period('M')),
    'more months than X': pd.concat([pd.Series([9.], [pd.Timestamp('1980-01-01')]), S]),
    'a table of one column': S.to_frame('flow'), 'a list without dates': list(Y),
    'rows by number': S.reset_index(drop=True), 'with a time zone': S.tz_localize('UTC'),
}
@pytest.mark.parametrize('kind', ALIGNED)
def test_targets_find_their_dates(fitted, kind):
    m = model().fit(X, ALIGNED[kind])
    np.testing.assert_array_equal(np.asarray(m.predict(X)).ravel(), np.asarray(fitted['evidence'].predict(X)))
    assert m.score(X, ALIGNED[kind])==pytest.approx(fitted['evidence'].score(X, Y), abs=1e-12)

REFUSED = {
    '30 years off': S.set_axis(TIME+pd.DateOffset(years=30)),
    'one month off': S.set_axis(TIME+pd.DateOffset(months=1)),
    'the middle of the month': S.set_axis(TIME+pd.DateOffset(days=14)),
    'a month twice': pd.concat([S[:-1], S[:1]]), 'one month short': S[1:],
    'a DataArray 30 years off': S.set_axis(TIME+pd.DateOffset(years=30)).rename_axis('time').to_xarray(),
    'two levels': S.set_axis(pd.MultiIndex.from_arrays([TIME, range(N)])),
    'a frame 30 years off': S.to_frame().set_axis(TIME+pd.DateOffset(years=30)),
}
@pytest.mark.parametrize('kind', REFUSED)
def test_targets_of_other_dates_are_refused(fitted, kind):
    for use in (lambda y: model().fit(X, y), lambda y: fitted['evidence'].score(X, y),
                lambda y: model('sgd').fit(X, Y, valid=(X, y)),
                lambda y: model().fit(FieldDesign.from_xarray(X, dtype=torch.float64), y)):
        with pytest.raises(DataError): use(REFUSED[kind])

def test_outputs_by_name():
    both = pd.DataFrame(dict(upper=Y, lower=-2*Y), TIME)
    m = model().fit(X, both)
    assert list(m.coef_.output.values)==['upper', 'lower']
    assert m.score(X, both[['lower', 'upper']])==pytest.approx(m.score(X, both), abs=1e-12)
    with pytest.raises(DataError, match='outputs upper, left'): m.score(X, both.rename(columns=dict(lower='left')))

@pytest.mark.parametrize('gap', [1, 2, 10, 120])
def test_no_window_across_a_hole(gap):
    x = X[:,0,0].assign_coords(time=list(TIME[:60])+list(TIME[60:]+pd.DateOffset(months=gap)))
    d = FieldDesign.from_xarray(x, leads=3)
    assert len(d)==N-6 and not set(d.rows.tolist())&{60, 61, 62}
    with pytest.raises(DataError, match='across a hole'): FieldDesign.from_xarray(x, leads=3, rows=[61])
    with pytest.raises(DataError, match='must ascend'): FieldDesign.from_xarray(x[::-1], leads=3)

def test_no_window_across_a_hole_in_a_calendar_without_leap_days():
    at = xr.date_range('1990-01', periods=N+10, freq='MS', calendar='noleap', use_cftime=True)
    x = X[:,0,0].assign_coords(time=at[[*range(60), *range(70, N+10)]])
    d = FieldDesign.from_xarray(x, leads=3, dtype=torch.float64)
    assert len(d)==N-6 and not set(d.rows.tolist())&{60, 61, 62}
    y = xr.DataArray(Y[d.rows], dict(time=x.time[d.rows.numpy()]), ('time',))
    m = model().fit(d, y[::-1]); assert m.score(d, y)==model().fit(d, y).score(d, y) # aligned by date
    with pytest.raises(DataError, match='same time'): m.score(d, y.assign_coords(time=at[:len(d)]))

@pytest.mark.parametrize('units', ['degrees_north degrees_east', 'degreeN degreeE', 'degree_N degree_E',
                                   'degrees_N degrees_E'])
def test_a_map_by_what_its_coordinates_say(fitted, units):
    x = X.rename(lat='row', lon='column').transpose('column', 'time', 'variable', 'row', 'lead')
    for d,u in zip(('row', 'column'), units.split()): x[d].attrs['units'] = u
    assert model().fit(x, Y).coef_.dims==('variable', 'lead', 'row', 'column')

@pytest.mark.parametrize('attrs,globe', [((dict(units='degrees_north'), dict(units='degrees_east')), True),
                                         ((dict(standard_name='latitude'), dict(standard_name='longitude')), True),
                                         ((dict(axis='Y'), dict(axis='X')), False),
                                         ((dict(units='m'), dict(units='m')), False), (({}, {}), False),
    ((dict(units='degrees_north'), {}), False),
    ((dict(standard_name='grid_latitude', units='degrees'), dict(standard_name='grid_longitude', units='degrees')),
     False)], ids=str)
def test_degrees_are_a_globe_whatever_they_are_called(fitted, attrs, globe):
    "Also longitudes that jump, and those a turn further."
    x = X.rename(lat='y', lon='x').assign_coords(y=X.lat.values, x=X.lon.values)
    for d,a in zip('yx', attrs): x[d].attrs.update(a)
    d = FieldDesign.from_xarray(x); assert d.grid.sphere==globe
    if not globe: return
    m = model().fit(x, Y)
    np.testing.assert_array_equal(m.coef_.values, fitted['evidence'].coef_.values)
    assert m.coef_.dims[-2:]==('y', 'x')
    for to in x.x.values+360, np.where(x.x.values>125, x.x.values-360, x.x.values):
        np.testing.assert_allclose(m.predict(x.assign_coords(x=('x', to, x.x.attrs))), m.predict(x))

def test_weights_find_their_dates(fitted):
    w = pd.Series(np.arange(N)+1., TIME); m = fitted['evidence']
    assert m.score(X, Y, sample_weight=w[::-1])==m.score(X, Y, sample_weight=w)
    np.testing.assert_array_equal(model().fit(X, Y, sample_weight=w[::-1]).coef_,
                                  model().fit(X, Y, sample_weight=w.values).coef_)
    a,b = (model('sgd').fit(X[:80], Y[:80], valid=(X[80:], Y[80:], v)) for v in (w[80:], w[80:][::-1]))
    np.testing.assert_array_equal(a.coef_, b.coef_)

def test_an_earlier_fit_to_an_array_is_forgotten():
    m = model().fit(X.values[:,0], Y).fit(X[:,0], Y)
    with pytest.raises(DataError, match='an array without names'): m.predict(X.values[:,0])

def test_the_mask_of_an_array_is_land():
    land = np.zeros(X.shape, bool); land[...,0,0] = True
    m = model().fit(np.ma.masked_array(np.where(land, 1e20, X.values), land), Y)
    assert m.coef_.isnull().sum()==6 and m.score(np.ma.masked_array(X.values, land), Y)>.9

# ---- magnitudes

SCALES = [2.**-40, 2.**-20, 2.**20, 2.**40]
@pytest.mark.parametrize('s,way', [(s, 'evidence') for s in SCALES]+[(s, 'sgd') for s in SCALES[::3]])
def test_magnitudes_change_nothing(fitted, s, way):
    base,m = np.asarray(fitted[way].predict(X)),model(way)
    np.testing.assert_allclose(np.asarray(m.fit(X, Y*s).predict(X))/s, base, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(np.asarray(m.fit(X*s, Y).predict(X*s)), base, rtol=1e-9, atol=1e-9)
    x = X*xr.DataArray([s, 1/s], dims='variable')
    np.testing.assert_allclose(np.asarray(m.fit(x, Y).predict(x)), base, rtol=1e-9, atol=1e-9)

@pytest.mark.parametrize('s', [1e-12, 1e-7, 1e9, 1e12])
def test_round_magnitudes_too(fitted, s):
    for way,tol in (('evidence', 1e-9), ('sgd', 1e-4)):
        np.testing.assert_allclose(np.asarray(model(way).fit(X*s, Y/s).predict(X*s))*s,
                                   np.asarray(fitted[way].predict(X)), rtol=tol, atol=tol)

def test_constants_keep_the_scale_one():
    d = FieldDesign(torch.full((5, 2, 3, 3), 300.1, dtype=torch.float64), Grid((3, 3)))
    assert (d.moments()[1]==1).all() and target_scale(np.full((5, 1), 1e9+.1),
            np.ones(5))[1]==1 and target_scale(np.zeros((5, 1)), np.ones(5))[1]==1

def test_lbfgs_by_name_does_not_depend_on_the_order_of_variables():
    fit = lambda x: MRTLRegressor(rank=2, method='sgd', optimizer='lbfgs', max_epochs=30).fit(x, Y)
    a,b = fit(X),fit(X.sel(variable=['slp', 'sst']))
    np.testing.assert_allclose(a.predict(X), b.predict(X), rtol=1e-4, atol=1e-4)

def test_an_exploding_loss_is_told():
    x = np.random.default_rng(0).normal(size=(300, 2, 6, 8)).cumsum(2).cumsum(3)/3; y = x[:,0,1:3,2:5].mean((1, 2))
    with pytest.warns(UserWarning, match=r'training loss exploded: .*lower lr \(10\)'):
        m = MRTLRegressor(rank=2, method='sgd', lr=10).fit(x, y)
    assert np.isfinite(m.predict(x)).all()

@pytest.mark.parametrize('kw', [dict(lr=10), dict(lr=1e30), dict(lr=1e30, criterion='grad_variance'),
                                dict(lr=10, init='random', schedule=[(6, 8)]), dict(lr=10, full_options=dict(lr=.01))])
def test_a_loss_beyond_all_numbers_is_survived(kw, tmp_path):
    "The levels end there, the best state before is kept, and files and tables hold the fit."
    x = np.random.default_rng(0).normal(size=(300, 2, 6, 8)).cumsum(2).cumsum(3)/3
    y = x[:,0,1:3,2:5].mean((1, 2))
    m = MRTLRegressor(rank=2, method='sgd', optimizer='sgd', **kw)
    with pytest.warns(UserWarning, match=r'training loss exploded: too large for a number at .*lower lr'): m.fit(x, y)
    assert ('diverged' in [l['stopped_by'] for l in m.levels_] and np.isfinite(m.predict(x)).all()
            and np.isfinite(m.history_[['train_loss', 'valid_loss']].values).all())
    assert all(l['best_loss']<=l['start_loss'] for l in m.levels_)
    m.save(tmp_path/'m.mrtl')
    np.testing.assert_array_equal(MRTLRegressor.load(tmp_path/'m.mrtl').predict(x), m.predict(x))
    m.report(tmp_path/'r.html')
    assert 'a loss that exploded' in (tmp_path/'r.html').read_text()
    if 'full_options' in kw: assert m.score(x, y)>.5 # what the full-rank levels learnt is not lost

def test_data_beyond_all_numbers_are_an_error():
    x = np.random.default_rng(0).normal(size=(60, 4, 6))*1e200
    with pytest.raises(DataError, match='diverged; lower lr .* huge values in the data'):
        MRTLRegressor(rank=1, method='sgd', optimizer='adam', init='random', standardise=False).fit(x, x[:,1,1]/1e200)
