"Stations in place of cells: exact levels, kernels by distance, both ways, files, tables and what is refused."
import warnings
import numpy as np, pandas as pd, pytest, torch, xarray as xr
from mrtl import FieldDesign, MRTLRegressor, Smoothness
from mrtl.core import ConfigError, DataError, FormatError
from mrtl.evidence.prior import kernel_modes
from mrtl.finegrain import coarsen, finegrain, operator_norm
from mrtl.multiresolution import default_schedule, check_schedule, finegrain_model
from mrtl.models import FullRank, LowRank
from mrtl.panels import on_places
from mrtl.points import Points, kernel, points_array, station_dim
from mrtl.store import load_tensors, save_tensors

RNG = np.random.default_rng(0); S,N = 24,60
LAT,LON = RNG.uniform(40, 60, S),RNG.uniform(0, 30, S)
def stations(n=N, k=None, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n,) if k is None else (n,k))[...,None]*np.sin(LAT/5)+rng.normal(size=(n,S)
            if k is None else (n,k,S))
    return xr.DataArray(X, dims=('time','station') if k is None else ('time','variable','station'),
                        coords=dict(lat=('station',LAT), lon=('station',LON), station=[f's{i}' for i in range(S)]))
DA = stations(); BETA = np.exp(-((LAT-50)**2+(LON-12)**2)/60); Y = (DA.values*BETA).mean(1)*5
QUICK = dict(sgd=dict(method='sgd', rank=2, max_epochs=2, full_levels=1), evidence=dict(method='evidence', rank=2))

@pytest.mark.parametrize('kind', [FullRank, LowRank])
def test_no_prediction_changes_from_cells_to_stations(kind):
    d = FieldDesign.from_points(stations(9, 2), dtype=torch.float64); torch.manual_seed(0)
    shapes = default_schedule(d.modes); assert shapes[-1] == dict(station=(1,S)) and len(shapes) > 1
    at = d; designs = [at := at.at(s) for s in reversed(shapes)][::-1]
    m = kind(designs[0].modes, *([2] if kind is LowRank else []), dtype=torch.float64)
    for p in m.parameters(): p.data = torch.randn_like(p)
    want = m(designs[0].batch())
    for e in designs[1:]:
        m = finegrain_model(m, e.modes); torch.testing.assert_close(m(e.batch()), want, rtol=1e-10, atol=1e-10)

def test_copies_and_sums_are_adjoint_and_empty_cells_are_masked():
    p = FieldDesign.from_points(DA).grid; g = p.coarsen((3,4))
    W,X = torch.randn(2,3,4).double()*g.mask,torch.randn(2,1,S).double()
    torch.testing.assert_close((finegrain(W, p, source=g)*X).sum(), (W*coarsen(X, g, source=p)).sum())
    assert float(g.area.sum()) == S and (g.mask == (g.area > 0)).all()

def test_copies_to_stations_need_no_source_and_their_norm_counts_stations():
    p = Points([0,0,0,0,9.], [0,1,2,40,40.], ('lat','lon'), True); eye = torch.eye(2).double()[:,None]
    g = p.coarsen((1,2)); P = finegrain(eye, p).reshape(2, -1)
    torch.testing.assert_close(P, torch.tensor([[1.,1,1,0,0], [0,0,0,1,1]]).double())
    for k in ('count','mean'):
        P = finegrain(eye, p, source=g, kind=k).reshape(2, -1); want = float(torch.linalg.matrix_norm(P, 2))
        assert [operator_norm(lo, p, kind=k) for lo in (g, (1,2))] == [pytest.approx(want)]*2

def test_distances_run_round_the_globe_and_over_the_pole():
    p = Points([0,0,89,89.], [179.5,-179.5,0,180], ('lat','lon'), True)
    d = np.linalg.norm(p.place[:,None]-p.place, axis=2)
    np.testing.assert_allclose([d[0,1], d[2,3]], [1., 2.], rtol=1e-4); assert np.ptp(p.at[1][:2]) == pytest.approx(1)

@pytest.mark.parametrize('kind', ['gaussian','exponential'])
def test_the_penalty_is_the_formula(kind):
    p = FieldDesign.from_points(DA).grid; r = Smoothness(p, .2, kind); b = torch.randn(3, S).double().requires_grad_()
    K = torch.from_numpy(kernel(np.linalg.norm(p.place[:,None]-p.place, axis=2), r.sigma*p.diagonal, kind))
    want = (K*(b[:,:,None]-b[:,None])**2).sum()/S**2
    torch.testing.assert_close(r(b), want)
    torch.testing.assert_close(torch.autograd.grad(r(b), b)[0], torch.autograd.grad(want, b)[0])

def test_the_prior_is_a_kernel_of_distances_and_low_rank_above(monkeypatch):
    p = FieldDesign.from_points(DA).grid; B, = kernel_modes(p, 2., 1e-9)
    d = np.linalg.norm(p.place[:,None]-p.place, axis=2)
    np.testing.assert_allclose(B@B.T, kernel(d, 2*p.spacing), atol=1e-6)
    low,left = p.root(4*p.spacing, 1e-9, most=20); assert low.shape[1] <= 6 and 0 < left < 1
    np.testing.assert_allclose(left, 1-np.diag(low@low.T).mean(), atol=1e-12)
    monkeypatch.setattr(Points.root, '__defaults__', (1e-6, 'gaussian', 15))
    with pytest.warns(UserWarning, match='24 stations are spoken for by 5'): kernel_modes(p, 1.)

@pytest.mark.parametrize('way', QUICK)
def test_both_ways_from_array_to_file(way, tmp_path):
    m = MRTLRegressor(**QUICK[way]).fit(DA, Y)
    assert (m.coef_.dims == ('station',) and {'lat','lon','station'} <= set(m.coef_.coords)
            and m.factors_.station_loading.dims == ('station','component'))
    np.testing.assert_array_equal(m.coef_.lat, LAT); want = m.predict(DA[:5])
    np.testing.assert_allclose(m.predict(DA[:5, ::-1]), want) # by name
    m.save(tmp_path/'m')
    again = MRTLRegressor.load(tmp_path/'m')
    np.testing.assert_array_equal(again.predict(DA[:5]), want)
    xr.testing.assert_identical(again.coef_, m.coef_)
    if way == 'evidence': assert np.corrcoef(m.coef_, BETA)[0,1] > .9 and m.coef_std_.dims == ('station',)
    if way == 'evidence': m.report(tmp_path/'r.html'); m.plot()
    with pytest.raises(DataError, match='not known .x'):
        m.predict(DA[:5].assign_coords(station=['x', *DA.station.values[1:]]))
    with pytest.raises(DataError, match='lacks 4 of 24'): m.predict(DA[:5, 4:])
    t,meta = load_tensors(tmp_path/'m')
    meta['modes']['data'][-1]['grid']['points'][0].pop()
    save_tensors(tmp_path/'m', t, meta)
    with pytest.raises(FormatError): MRTLRegressor.load(tmp_path/'m')

def test_leads_variables_doubles_and_a_schedule_of_ones_own():
    # two stations at one place
    d = FieldDesign.from_points(stations(20, 2).assign_coords(lat=('station', np.r_[LAT[1], LAT[1:]]),
            lon=('station', np.r_[LON[1], LON[1:]])), leads=2, dtype=torch.float64)
    m = MRTLRegressor(method='sgd', rank=1, max_epochs=1, schedule=[(2,2)], full_levels=1).fit(d, Y[:18])
    assert m.coef_.dims == ('lead','variable','station')
    assert check_schedule([(2,2)], d.modes)[-1] == dict(station=(1,S))
    assert MRTLRegressor(method='evidence', rank=1).fit(d, Y[:18]).coef_.shape == (2,2,S)

def test_stations_that_open_later_are_gaps():
    late = DA.copy(); late[:20,3] = np.nan; late[:,5] = np.nan
    with pytest.raises(DataError, match="1 of 24 cells.*'climatology'"): MRTLRegressor(**QUICK['evidence']).fit(late, Y)
    m = MRTLRegressor(missing='conditional', **QUICK['evidence']).fit(late, Y)
    assert float(m.missing_[3]) == pytest.approx(1/3) and np.isnan(m.missing_[5]) and np.isnan(m.coef_[5])
    gone = late[:5].isel(station=[i for i in range(S) if i != 7]); empty = late[:5].copy(); empty[:,7] = np.nan
    np.testing.assert_allclose(m.predict(gone), m.predict(empty), rtol=1e-9)

def test_tables_long_wide_and_geo():
    t = pd.date_range('2000', periods=N, name='time')
    wide = pd.DataFrame(DA.values, t, DA.station.values)
    at = pd.DataFrame(dict(lat=LAT, lon=LON), index=DA.station.values)
    long = wide.stack().rename('v').rename_axis(['time','station']).reset_index().join(at, on='station')
    class Geo:
        __geo_interface__ = dict(features=[dict(id=k, geometry=dict(type='Point', coordinates=(v.lon, v.lat)))
                                           for k,v in at[::-1].iterrows()])
    want = FieldDesign.from_points(DA).u
    for X,s in ((long, None), (wide, at), (wide, Geo())):
        d = FieldDesign.from_points(X, s)
        torch.testing.assert_close(d.u, want)
        assert list(d.grid.labels) == list(DA.station.values) and len(d.times) == N
    two = points_array(long.assign(w=1.))
    assert two.dims == ('time','variable','station') and list(two['variable'].values) == ['v','w']
    bad = [(long.drop(columns='lat'), None, 'long table'), (pd.concat([long, long[:1]]), None, 'more than once'),
           (long.assign(lat=np.where(long.index == 0, 1., long.lat)), None, 'several coordinates'),
           (wide, at[1:], r'no coordinates \(s0'), (wide, at.rename(columns=dict(lat='n')), 'columns lat and lon')]
    for X,s,text in bad:
        with pytest.raises(DataError, match=text): FieldDesign.from_points(X, s)

def test_what_is_refused():
    one,lost = DA[:,:1],DA.assign_coords(lat=('station', np.r_[np.nan, LAT[1:]]))
    for X,text in ((one, '1 station is no map'), (lost, r'1 of 24 stations have no coordinates \(s0'),
                   (DA.assign_coords(lat=('station', LAT+90)), 'between -90 and 90'),
                   (DA.assign_coords(station=['a']*S), 'two stations are called a'),
                   (DA.drop_vars('lat'), 'coordinates lat and lon')):
        with pytest.raises(DataError, match=text): FieldDesign.from_points(X)
    with pytest.raises(ConfigError, match='over stations is not|got stations'):
        MRTLRegressor(terms=['station']).fit(DA, Y)
    assert station_dim(DA.isel(station=0)) is None and station_dim(xr.DataArray(np.zeros((2,3,4)),
            dims=('time','lat','lon'), coords=dict(lat=[0,1,2], lon=range(4)))) is None
    assert on_places(DA).dims == ('time','lat','lon')

def test_a_curved_grid_becomes_stations_where_that_is_asked_for():
    y,x = np.meshgrid(np.arange(4.), np.arange(5.), indexing='ij')
    lat = 50+y+.2*x; lat[0,0] = np.nan; v = RNG.normal(size=(N,2,4,5))
    curved = xr.DataArray(v, dims=('time','variable','j','i'),
                          coords=dict(lat=(('j','i'), lat), lon=(('j','i'), x-.1*y)))
    with pytest.raises(DataError, match='curved grid.*from_points'): MRTLRegressor(**QUICK['sgd']).fit(curved, Y)
    d = FieldDesign.from_points(curved, dtype=torch.float64)
    np.testing.assert_allclose(d.u[...,0,:]*19, v.reshape(N, 2, 20)[...,1:])
    np.testing.assert_allclose(d.grid.at[0], lat.ravel()[1:]); assert d.grid.labels == list(range(1, 20))
