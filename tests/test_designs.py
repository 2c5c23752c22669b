"Fields as designs, piece by piece, against numpy and xarray."
import cftime, numpy as np, pandas as pd, pytest, torch, xarray as xr
from mrtl.core import DataError, ScheduleError
from mrtl.designs import Batch, FieldDesign, Mode, as_index, as_shapes
from mrtl.tidy import arranged, ascending, in_memory, spatial_dims, time_slices, whole_windows
from mrtl.grids import Grid, regrid_mean
from mrtl.nodes import Nodes

RNG = np.random.default_rng(0)
MONTHS = pd.date_range('2001-01', periods=10, freq='MS')
X = xr.DataArray(RNG.normal(2, 3, (10, 2, 4, 6)), dict(time=MONTHS, variable=['a', 'b'], lat=[-30., -10., 10., 30.],
        lon=np.arange(100., 160, 10)), ('time', 'variable', 'lat', 'lon'))
LAND = X.where((X.lat>-30)|(X.lon>110))

def refused(text, f, *args, kind=DataError, **kw):
    with pytest.raises(kind, match=text): f(*args, **kw)

def design(x=X, **kw): return FieldDesign.from_xarray(x, dtype=torch.float64, **kw)
def means(d): return (d.u/d.grid.share).numpy()

# ---- modes and batches

def test_modes():
    assert Mode('a', 5).shape == (5,) and Mode('a', 6, Grid((2,3))).shape == (2,3) and Mode('a', 6,
            nodes=Nodes([0, 1], [0, 1, 2])).shape == (2,3)
    d = design(leads=3); lead,var,space = d.modes
    assert [(m.name, m.size) for m in d.modes] == [('lead', 3), ('variable', 2),
                                                   ('space', 24)] and lead.labels == [1, 2,
            3] and var.labels == ['a', 'b'] and space.grid is d.grid
    assert not any(m.indexed for m in d.modes) and [m.name for m in design().modes] == ['variable', 'space']
    bare = FieldDesign(torch.zeros(3, 2, 4, 2, 2), Grid((2,2)))
    assert [(m.name, m.labels) for m in bare.modes[:2]] == [('feature_0', [0, 1]), ('feature_1', [0, 1, 2, 3])]
    assert FieldDesign(torch.zeros(3, 2, 2, 2), Grid((2,2)),
                       space='ocean').modes[0].name == 'feature' and FieldDesign(torch.zeros(3, 2, 2), Grid((2,2)),
            space='ocean').modes[0].name == 'ocean'
    refused(r'\(time, a, 2, 2\).*got \(3, 2, 2\)', FieldDesign, torch.zeros(3, 2, 2), Grid((2,2)), ('a',))
    refused(r'2, 3\)', FieldDesign, torch.zeros(3, 3, 2), Grid((2,3)))

def test_batches():
    d = design(leads=2); b = d.batch(torch.tensor([3, 0])); x = d.u.flatten(-2).numpy()
    np.testing.assert_array_equal(b.x, x[[[4, 3], [1, 0]]])
    np.testing.assert_array_equal(d.batch().x[-1], x[[8, 7]])
    assert d.batch().x.shape == (8, 2, 2, 24)
    np.testing.assert_array_equal(b.part(slice(1, 2)).x, b.x[1:])
    np.testing.assert_array_equal(b.shuffled(torch.tensor([1, 0])).x, b.x.flip(0))
    e = Batch(dict(who=torch.tensor([[1], [2], [3]])), torch.arange(6.).view(3, 2))
    assert e.x is e.u and Batch({}).x is None
    p = e.part(slice(1, 3))
    assert p.idx['who'].tolist() == [[2], [3]] and p.x.tolist() == [[2., 3.], [4., 5.]] and p.at is None
    o = Batch(e.idx).shuffled(torch.tensor([2, 0, 1])); assert o.idx['who'].tolist() == [[3], [1], [2]] and o.u is None
    r = Batch({}, ready=dict(a=torch.arange(3)), widths=(1, 2)).part(slice(2))
    assert r.ready['a'].tolist() == [0, 1] and r.widths == (1, 2)
    np.testing.assert_array_equal(design().batch(torch.tensor([7])).x, design().u.flatten(-2)[[7]])

def test_shapes():
    one = [Mode('a', 3), Mode('s', 6, Grid((2,3)))]; two = [*one, Mode('t', 4, Grid((2,2)))]
    assert as_shapes([1, 2], one) == as_shapes(dict(s=(1,2)), one) == dict(s=(1,2)) and as_shapes(dict(t=(1,1),
            s=(2,3)), two) == dict(s=(2,3), t=(1,1))
    refused("each spatial mode .s, t., like {'s': ", as_shapes, (1,2), two, kind=ScheduleError)
    refused('a shape for s, t; got s', as_shapes, dict(s=(1,2)), two, kind=ScheduleError)
    refused('a shape for s; got a, s', as_shapes, dict(a=(1,2), s=(1,2)), one, kind=ScheduleError)

@pytest.mark.parametrize('shape,chunks', [((10, 3), None), ((7, 2**16), None), ((5, 2**19), None), ((0, 4), None),
                                          ((9, 2**17), (2, 3, 1, 3)), ((9, 2**16), (2, 3, 1, 3)),
                                          ((9, 4), (2, 3, 1, 3)), ((9, 2**20), (9,)), ((0, 4), (0,)), ((4, 0), None)])
def test_blocks_of_times(shape, chunks):
    cuts = time_slices(shape, chunks)
    assert [i for s in cuts for i in range(s.start, s.stop)] == list(range(shape[0])) and all(s.stop
            > s.start for s in cuts)
    size = max(1, 2**18//max(1, shape[1])); borders = np.cumsum(chunks or [1]*shape[0]).tolist()
    assert all(s.stop in borders for s in cuts) and all(s.stop-s.start <= size or chunks
            and s.stop-s.start in chunks for s in cuts)
    # no block could have been longer
    for a,b in zip(cuts, cuts[1:]):
        assert b.stop-a.start > size or chunks and next(e for e in borders if e > b.start)-a.start > size

# ---- rows

def test_rows():
    x = torch.zeros(10, 1, 2, 2); g = Grid((2,2)); d = lambda **kw: FieldDesign(x, g, **kw)
    # with leads, the time after the last is no data but a target
    assert d().rows.tolist() == list(range(10)) and d(leads=3).rows.tolist() == list(range(3,
            10)) and len(d(rows=[])) == 0 and len(d(leads=3, rows=[10, 3])) == 2
    for kw in dict(rows=[10]), dict(rows=[0, 10]), dict(rows=[-1]), dict(leads=3, rows=[2]), dict(leads=3, rows=[11]):
        refused(r'rows must lie in (0\.\.9|3\.\.10)', d, **kw)
    assert as_index([]).dtype == torch.int64 and as_index([True, False]).dtype == torch.bool
    for rows in [1, 3], torch.tensor([1, 3]), np.arange(8)%4==1: assert design(leads=2).take(rows).rows.tolist()[0] == 3
    d = design(); t = d.take([4, 1]); assert t.rows.tolist() == [4, 1] and t.u is d.u  # the fields are not copied

@pytest.mark.parametrize('leads', [None, 2])
@pytest.mark.parametrize('rows', [slice(2, 5), slice(0, 1), slice(0, 0), slice(None)])
def test_held_rows_look_at_the_same(leads, rows):
    d = design(leads=leads); h = d.hold(rows); assert len(h) == len(d.rows[rows])
    np.testing.assert_array_equal(h.batch().x, d.batch(torch.arange(len(d))[rows]).x)
    if len(h):
        assert (h.u.shape[0] == len(h)+(leads or 0)-(1 if leads else 0)
                and list(h.times) == list(MONTHS[int(d.rows[rows][0])-(leads or 0):][:h.u.shape[0]])
                and h.leads == leads)

def test_parts_are_kept():
    d = FieldDesign(torch.zeros(5, 1, 2, 2), Grid((2,2)), ('v',), dict(v=['a']), leads=1, space='s',
                    window=3, times=MONTHS[:5])
    for e in d.take([0, 1]), d.to(torch.float64), d.at((1,2)), d.hold(slice(0,
            2)), d.standardise(torch.zeros(1, 2, 2), torch.ones(1)):
        assert (e.names, e.labels, e.leads, e.space, e.window) == (('v',), dict(v=['a']), 1, 's',
                3) and e.times[0] == MONTHS[0]
    assert (d.to(torch.float64).u.dtype == design().to('cpu').u.dtype == torch.float64
            and d.to('cpu').fields is d.fields and d.at((2,2)) is d and d.at(dict(s=(1,1))).grid.shape == (1,1))

def test_coarser_fields_are_averages():
    d = design(LAND); want = torch.from_numpy(LAND.fillna(0).values)
    for c in d.at((2,3)), d.at((2,6)).at((2,3)), d.at((3,5)), d.to(torch.float64).at((1,1)):
        np.testing.assert_allclose(np.where(c.grid.mask, means(c), 0),
                                   np.where(c.grid.mask, regrid_mean(torch.where(d.grid.mask, want, torch.nan),
                Grid(c.grid.shape, d.grid.y, d.grid.x, d.grid.names, True), d.grid).nan_to_num(), 0), atol=1e-12)
        assert c.grid.area.sum() == pytest.approx(float(d.grid.area.sum()))
    a = d.at((2,3)); assert d.at((2,3)).fields is a.fields  # made once while someone holds it

# ---- coordinates

def test_axes_ascend():
    down = X.isel(lat=slice(None, None, -1))
    a = ascending(down, 'lat')
    assert a.lat.values.tolist() == [-30., -10., 10., 30.]
    np.testing.assert_array_equal(a, X)
    assert ascending(X.isel(lat=[0]), 'lat').lat.values.tolist() == [-30.] and ascending(X.drop_vars('lat'),
            'lat').lat.values.tolist() == [.5, 1.5, 2.5, 3.5]
    for lon,want in [([350, 0, 10], [350, 360, 370]), ([170, -170, -150], [170, 190, 210]),
                     ([340, 350, 0], [340, 350, 360]), ([359.5, 0, .5], [359.5, 360, 360.5]),
                     ([30, 20, 10], [10, 20, 30])]:
        assert ascending(xr.DataArray(np.zeros(3), dict(lon=lon), ('lon',)),
                         'lon').lon.values.tolist() == want and ascending(xr.DataArray(np.zeros(3), dict(x=lon),
                ('x',)), 'x').x.values.tolist() == (want if lon[1]==20 else lon)
    refused(r"lat must hold numbers; got .*'?n'?", ascending, X.assign_coords(lat=list('nesw')), 'lat')

def test_which_dimensions_are_the_map():
    z = lambda *dims, **attrs: xr.DataArray(np.zeros((2,)*len(dims)),
                                            {d: (d, [0., 1.], a) for d,a in attrs.items()}, dims)
    for da,want in [(z('lat', 'time', 'lon'), ('lat', 'lon')),
                    (z('Longitude', 'Latitude', 'time'), ('Latitude', 'Longitude')),
                    (z('time', 'x', 'y', 'k'), ('y', 'x')), (z('time', 'a', 'b'), ('a', 'b')),
                    (z('lat', 'a', 'b'), ('a', 'b')),
        (z('time', 'a', 'b', 'c', a=dict(axis='X'), b=dict(axis='Y')), ('b', 'a')),
        (z('time', 'a', 'b', 'c', b=dict(units='degrees_north'), a=dict(units='degrees_east')), ('b', 'a')),
        (z('time', 'a', 'b', 'c', a=dict(standard_name='projection_x_coordinate'),
           c=dict(standard_name='projection_y_coordinate')), ('c', 'a')),
        (z('time', 'a', 'b', 'c', a=dict(axis='X')), ('b', 'c')),
        (z('t', 'a', 'b', 'c', a=dict(axis='X'), b=dict(axis='X'), t=dict(axis='Y')), ('b', 'c'))]:
        assert spatial_dims(da) == want, da.dims

def test_order_of_dimensions():
    assert arranged(X.transpose('lon', 'variable', 'lat',
                                'time')).dims == X.dims and arranged(X.to_dataset('variable')).dims == X.dims
    run = X.drop_vars('time').rename(time='run')
    assert arranged(run.transpose('run', 'lon', 'lat', 'variable')).dims == ('run', 'variable', 'lat', 'lon')
    refused("none is called time: transpose", arranged, run.transpose('lat', 'run', 'variable', 'lon'))
    refused('sample dimension and two spatial', arranged, X[0,0])
    refused('complex128', arranged, X+0j)
    refused('datetime64', arranged, X.astype('datetime64[ns]'))
    assert arranged(X[:,0]).dims == ('time', 'lat', 'lon') and arranged((X>0)).dtype == bool
    # two-dimensional, but no place
    depth = X.assign_coords(depth=(('lat','lon'), np.zeros((4,6)))); assert arranged(depth).dims == X.dims
    refused(r'two dimensions \(Lat\), a curved grid', arranged,
            X.rename(lat='j', lon='i').drop_vars(['j','i']).assign_coords(Lat=(('j','i'), np.zeros((4,6)))))

def test_known_grid():
    g = design(LAND).grid; d = design(X, grid=g)
    assert d.grid is g
    np.testing.assert_allclose(means(d)[:,:,g.mask], X.values[:,:,g.mask])
    assert (d.u[:,:,~g.mask] == 0).all()
    for x in X.assign_coords(lon=X.lon-360), X.assign_coords(lon=X.lon+720), X.assign_coords(lat=X.lat+1e-4):
        assert design(x, grid=g).grid is g
    for x in X.assign_coords(lon=X.lon+10), X.assign_coords(lat=X.lat+1), X.isel(lat=slice(3)), X.isel(lon=slice(5)):
        refused('must lie on the grid Grid', design, x, grid=g)
    for x in X.isel(lon=[]), X.isel(lat=[]), X.isel(lat=[]).rename(lat='y', lon='x'):
        refused('must lie on the grid .* got (0x6|4x0) cells', design, x, grid=g)
    column = X.isel(lon=[2]); g1 = design(column).grid
    assert design(column.assign_coords(lon=column.lon-360), grid=g1).grid is g1
    # metres do not go round
    flat = X.rename(lat='y', lon='x'); g2 = design(flat).grid
    assert design(flat, grid=g2).grid is g2
    refused('must lie on', design, flat.assign_coords(x=flat.x+360), grid=g2)
    hole = X.copy(); hole[3,0,2,2] = np.nan; refused('NaN at some times in 1 of 24', design, hole, grid=g)

def test_labels_and_globe():
    d = design()
    assert d.grid.sphere and d.grid.names == ('lat','lon') and d.labels == dict(variable=['a',
            'b']) and list(d.times) == list(MONTHS) and (d.grid.y, d.grid.x) == ((-40., 40.), (95., 155.))
    flat = design(X.rename(lat='y', lon='x').drop_vars(('variable','time')))
    assert not flat.grid.sphere and flat.labels == {} and flat.modes[0].labels == [0, 1] and flat.times is None
    assert not design(X.rename(lat='y')).grid.sphere
    assert design(X.expand_dims(level=[10, 20], axis=2)).labels == dict(variable=['a', 'b'], level=[10, 20])

# ---- values

@pytest.mark.parametrize('kind', ['memory', 'lazy'])
@pytest.mark.parametrize('dtype', [torch.float32, torch.float64])
def test_values_and_land(kind, dtype):
    x = LAND.chunk(time=4) if kind=='lazy' else LAND
    d = FieldDesign.from_xarray(x, dtype=dtype)
    mask = np.isfinite(LAND.values).all((0,1))
    np.testing.assert_array_equal(d.grid.mask, mask)
    assert d.u.dtype == dtype
    np.testing.assert_allclose(means(d)[:,:,mask], LAND.values[:,:,mask], rtol=1e-6 if dtype==torch.float32 else 1e-14)
    assert (d.u[:,:,~d.grid.mask] == 0).all()
    np.testing.assert_array_equal(in_memory(x), LAND.values)
    # land in one variable is land
    one = LAND.values.copy(); one[:,1,3,5] = np.nan; assert not design(LAND.copy(data=one)).grid.mask[3,5]
    for at,v,text in [((2,0,3,4), np.nan, 'NaN at some times in 1 of 24 cells'),
                      ((slice(0,9),0,3,4), np.nan, 'in 1 of 24'), ((2,0,3,4), np.inf, '1 infinite'),
                      ((slice(1,3),slice(None),3,4), -np.inf, '4 infinite')]:
        bad = LAND.values.copy(); bad[at] = v; refused(text, design, x.copy(data=bad))

def test_shares_of_averages():
    g = Grid((2,2), mask=[[True, True], [True, False]]); x = torch.arange(8.).view(2, 2, 2)
    np.testing.assert_allclose(FieldDesign(x, g).u, torch.tensor([[[0, 1], [2, 0]], [[4, 5], [6, 0]]])/3)
    d = FieldDesign(x, g, shared=True)
    assert d.u is x

# ---- windows

def test_windows_by_hand():
    for freq in 'D','MS','YS','h','s':
        t = pd.date_range('2001', periods=20, freq=freq); keep = np.delete(np.arange(20), [7, 8, 15]); s = t[keep]
        # neither it nor what it looks at lies behind a hole
        want = [i for i in range(len(s)) if i >= 2 and keep[i]-keep[i-2] == 2]
        assert whole_windows(s, 2).tolist() == want and whole_windows(s, 2,
                want[::-1]).tolist() == want[::-1] and whole_windows(t, 3).tolist() == list(range(3, 20))
        refused(r'row 8 \(.*\) looks back across a hole', whole_windows, s, 2, [3, 8])
    t = xr.date_range('2001', periods=8, freq='MS', calendar='360_day', use_cftime=True)
    assert whole_windows(t, 2).tolist() == list(range(2, 8)) and whole_windows(t.delete(4),
            1).tolist() == [1, 2, 3, 5, 6]
    mask = np.arange(10)%2==1; assert whole_windows(MONTHS, 1, mask).tolist() == [1, 3, 5, 7, 9]
    for times in pd.RangeIndex(9), MONTHS[:2], pd.Index(list('abc')):
        assert whole_windows(times, 1) is None and whole_windows(times, 1, [1]) == [1]
    for times in MONTHS[[0, 1, 1, 2]], MONTHS[[0, 2, 1, 3]]:
        refused('2001-02-01 00:00:00 does not come after', whole_windows, times, 1)
    d = design(X.isel(time=[0, 1, 2, 5, 6, 7, 8]), leads=2)
    assert d.rows.tolist() == [2, 5, 6] and len(design(X.isel(time=[0, 1, 2, 5, 6, 7, 8]))) == 7

# ---- standardising

@pytest.mark.parametrize('leads', [None, 2])
@pytest.mark.parametrize('x', ['sea', 'land'])
def test_moments_are_the_weighted_ones(leads, x):
    d = design(LAND if x=='land' else X, leads=leads)
    w = RNG.random(len(d)); share = d.grid.share.numpy()
    seen = np.zeros(10)
    for r,v in zip(d.rows, w):
        for k in range(1, leads+1) if leads else [0]: seen[r-k] += v
    v = np.nan_to_num((LAND if x=='land' else X).values)
    mean = np.average(v, axis=0, weights=seen)
    sd = np.sqrt((np.average((v-mean)**2, axis=0, weights=seen)*share).sum((1,2)))
    got = d.moments(w)
    np.testing.assert_allclose(got.mean*d.grid.mask, mean, atol=1e-12)
    np.testing.assert_allclose(got.sd, sd)
    s = d.standardise(*got)
    np.testing.assert_allclose(means(s)[...,d.grid.mask.numpy()],
                               ((v-mean)/sd[:,None,None])[...,d.grid.mask.numpy()], atol=1e-12)
    assert s.u is not d.u
    again = s.moments(w); np.testing.assert_allclose(again.mean, 0, atol=1e-12); np.testing.assert_allclose(again.sd, 1)
    np.testing.assert_allclose(d.moments().sd, d.moments(np.full(len(d), 7.)).sd)

@pytest.mark.parametrize('names', [('lead','variable'), ('variable','lead'), ('level','variable')])
def test_one_deviation_a_variable(names):
    v = RNG.normal(size=(30, 2, 3, 2, 2))*np.array([1., 10., 100.])[:,None,None]
    d = FieldDesign(torch.from_numpy(v), Grid((2,2)), names)
    sd = d.moments().sd
    axis = 0 if names[1]=='lead' else 1
    want = np.sqrt(v.var(0).mean((2,3)).mean(1-axis))
    np.testing.assert_allclose(sd, np.broadcast_to(np.expand_dims(want, 1-axis), (2,3)))
    flat = FieldDesign(torch.full((5, 1, 2, 2), 1e8, dtype=torch.float64), Grid((2,2)), ('v',)).moments()
    assert flat.sd.tolist() == [1.] and (flat.mean == 1e8).all()
    # rounding is no signal
    noise = 1e8+np.random.default_rng(0).choice([0, 1.5e-8], (9, 1, 2, 2))
    assert noise.std()>0 and FieldDesign(torch.from_numpy(noise), Grid((2,2)), ('v',)).moments().sd.tolist() == [1.]

@pytest.mark.parametrize('by', ['averages', 'smooth'])
def test_gaps_have_no_coarser_level(by):
    from mrtl.finegrain import smoothed
    d = FieldDesign(torch.randn(5, 1, 8, 8, dtype=torch.float64), Grid((8,8))); d.u[2,0,3,3] = torch.nan
    with pytest.raises(DataError, match='hold gaps'): d.at((4,4), *([smoothed] if by=='smooth' else [])).u
