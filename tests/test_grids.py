"Overlaps, regridding, locating points and finegraining against brute force, other libraries and their own adjoints."
import warnings
from fractions import Fraction
import boost_histogram as bh
import numpy as np
import pytest
import torch
import xarray as xr
from hypothesis import given, settings, strategies as st
from mrtl.designs import FieldDesign
from mrtl.grids import bin_points
from mrtl.core import ConfigError, DataError, ScheduleError, generator
from mrtl.finegrain import COPY_METHODS, coarsen, finegrain, nested, operator_norm, prolongation
from mrtl.grids import Grid, overlap_matrix, regrid_mean, regrid_sum

SIZES = [1, 2, 3, 4, 5, 8, 11, 12, 21, 27]
PAIRS = [((4,9), (8,18)), ((8,18), (12,27)), ((12,27), (24,54)), ((24,54), (40,90)), ((8,18), (40,90)),
         ((8,10), (20,25)), ((3,6), (6,11)), ((6,11), (11,21)), ((5,9), (8,18)), ((1,1), (7,3)), ((1,4), (1,7)),
         ((5,5), (5,5)), ((2,7), (9,7))]
WORLD = dict(y=(-25., 65.), x=(180., 360.), names=('lat','lon'), sphere=True)

def draw(*shape): return torch.randn(shape, generator=generator('grids', *shape), dtype=torch.float64)

def islands(shape, share=.3, seed=0):
    "A mask with at least one valid cell."
    m = np.random.default_rng(seed).random(shape) > share
    m.flat[0] = True
    return m

def coast(shape):
    "A mask with one large masked corner, so that whole coarse cells are masked too."
    y,x = np.indices(shape)
    return y/shape[0]+x/shape[1] < 1.3

def grid(shape, kind):
    return dict(plain=lambda: Grid(shape), land=lambda: Grid(shape, mask=islands(shape)),
                globe=lambda: Grid(shape, **WORLD), coast=lambda: Grid(shape, **WORLD, mask=coast(shape)))[kind]()

# ---- overlaps

@pytest.mark.parametrize('m', SIZES)
@pytest.mark.parametrize('n', SIZES)
def test_overlaps_are_exact_fractions(m, n):
    def share(i, j):
        return n*max(Fraction(0), min(Fraction(i+1, m), Fraction(j+1, n))-max(Fraction(i, m), Fraction(j, n)))
    exact = [[share(i, j) for j in range(n)] for i in range(m)]
    for lo,hi in (0., 1.), (-20., 61.3):
        got = overlap_matrix(m, n, lo, hi).numpy()
        np.testing.assert_allclose(got, np.array(exact, float), rtol=0, atol=1e-12)
        assert ((got == 0) == np.array([[e == 0 for e in row] for row in exact])).all()

@pytest.mark.parametrize('m,n', [(12, 80), (5, 8), (80, 12), (7, 7), (1, 9)])
def test_overlaps_on_a_globe(m, n):
    lo,hi = -25.,65.
    a,b = (np.linspace(lo, hi, k+1) for k in (m, n))
    def band(p, q): return 0. if q-p < 1e-9 else np.sin(np.deg2rad(q))-np.sin(np.deg2rad(p))
    brute = [[band(max(a[i], b[j]), min(a[i+1], b[j+1]))/band(b[j], b[j+1]) for j in range(n)] for i in range(m)]
    np.testing.assert_allclose(overlap_matrix(m, n, lo, hi, True), brute, atol=1e-12)
    np.testing.assert_allclose(overlap_matrix(m, n, lo, hi, True).sum(0), 1, atol=1e-14)

@pytest.mark.parametrize('kind', ['plain', 'land', 'globe', 'coast'])
@pytest.mark.parametrize('src,to', [((8,18), (5,9)), ((8,18), (4,9)), ((11,21), (6,11)), ((6,5), (9,8))])
def test_regrid_is_brute_force(src, to, kind):
    g = grid(src, kind); t = Grid(to, g.y, g.x, g.names, g.sphere)
    X = draw(2, *src); X[0, 1, 2] = X[1, -1, :3] = torch.nan
    ya,xa,yb,xb = (np.linspace(*e, k+1) for e,k in ((t.y, t.h), (t.x, t.w), (g.y, g.h), (g.x, g.w)))
    height = (lambda p, q: np.sin(np.deg2rad(q))-np.sin(np.deg2rad(p))) if g.sphere else lambda p, q: q-p
    total,mass,area = (np.zeros((2, *to)) for _ in range(3))
    for i,j,k,l in np.ndindex(*to, *src):
        y0,y1,x0,x1 = max(ya[i], yb[k]),min(ya[i+1], yb[k+1]),max(xa[j], xb[l]),min(xa[j+1], xb[l+1])
        if y1-y0 < 1e-9 or x1-x0 < 1e-9: continue
        a = height(y0, y1)*(x1-x0); whole = height(yb[k], yb[k+1])*(xb[l+1]-xb[l])
        for s in range(2):
            if not torch.isfinite(X[s, k, l]): continue
            total[s, i, j] += a/whole*float(X[s, k, l])
            if g.mask[k, l]: mass[s, i, j] += a*float(X[s, k, l]); area[s, i, j] += a
    np.testing.assert_allclose(regrid_sum(X, t, g), total, atol=1e-12)
    with np.errstate(invalid='ignore'): np.testing.assert_allclose(regrid_mean(X, t, g), mass/area, atol=1e-11)

# ---- against xarray-regrid

def regridded(X, src, to, **kw):
    "What xarray-regrid makes of the same field."
    import xarray_regrid  # noqa: F401, registers the accessor
    da = xr.DataArray(X.numpy(), dims=('time', *src.names), coords=src.coords())
    return da.regrid.conservative(xr.Dataset(coords=to.coords()), skipna=True, nan_threshold=1.,
                                  **kw).transpose('time', *src.names).values

@pytest.mark.parametrize('holes', [False, True])
@pytest.mark.parametrize('to,src', [((12,27), (80,180)), ((5,9), (8,18))])
def test_flat_means_equal_xarray_regrid(to, src, holes):
    s = Grid(src, (0, 90), (0, 180)); t = s.coarsen(to); X = draw(2, *src)
    if holes: X[:, torch.from_numpy(~coast(src)|~islands(src))] = torch.nan
    theirs = regridded(X, s, t); ours = regrid_mean(X, t, s).numpy()
    assert (np.isnan(ours) == np.isnan(theirs)).all() and np.isnan(ours).any() == holes
    np.testing.assert_allclose(ours, theirs, atol=1e-10)

@pytest.mark.parametrize('holes', [False, True])
@pytest.mark.parametrize('to,src', [((16,27), (80,180)), ((4,7), (8,18))])
def test_means_on_a_globe_equal_xarray_regrid_where_rows_nest(to, src, holes):
    s = Grid(src, **WORLD); t = s.coarsen(to); X = draw(2, *src)
    if holes: X[:, ~torch.from_numpy(islands(src))] = torch.nan
    np.testing.assert_allclose(regrid_mean(X, t, s), regridded(X, s, t, latitude_coord='lat'), atol=1e-10)

@pytest.mark.parametrize('to,src', [((12,27), (80,180)), ((5,9), (8,18))])
def test_means_on_a_globe_are_near_xarray_regrid_elsewhere(to, src):
    "Where rows do not nest, that library weighs a part of a cell by the latitude of the whole."
    s = Grid(src, **WORLD); t = s.coarsen(to)
    X = torch.from_numpy(np.sin(s.y_centres/20)[:,None]*np.cos(s.x_centres/30))[None]
    theirs,flat = regridded(X, s, t, latitude_coord='lat'),regridded(X, *(Grid(g.shape, g.y, g.x) for g in (s, t)))
    ours = regrid_mean(X, t, s).numpy()
    assert np.abs(ours-theirs).max() < .012 and np.abs(ours-theirs).max() < np.abs(ours-flat).max()

# ---- points

@pytest.mark.parametrize('shape,y,x', [((40,50), None, None), ((12,12), (-3., 3.), (0., 6.)),
                                       ((7,1), (.1, .8), (-1e3, 1e3)), ((80,180), (-19.5, 60.5), (180.5, 360.5))])
def test_locate_equals_histograms(shape, y, x):
    g = Grid(shape, y, x); rng = np.random.default_rng(1)
    e = [np.linspace(*v, n+1) for v,n in ((g.y, g.h), (g.x, g.w))]
    span = [v[1]-v[0] for v in (g.y, g.x)]
    py,px = (np.concatenate([rng.uniform(v[0]-.1*s, v[1]+.1*s, 4000), rng.choice(edges, 1000)])
             for v,s,edges in zip((g.y, g.x), span, e))
    py,px = rng.permutation(py),rng.permutation(px)
    inside = (py < g.y[1])&(px < g.x[1])  # numpy counts the far edge in the last cell
    got = bin_points(g, py, px)
    assert (got == np.histogram2d(py[inside], px[inside], e)[0]).all()
    h = bh.Histogram(bh.axis.Variable(e[0]), bh.axis.Variable(e[1])); h.fill(py, px)
    assert (got == h.values()).all() and 0 < got.sum() < len(py)
    v = rng.normal(size=len(py))
    h = bh.Histogram(bh.axis.Variable(e[0]), bh.axis.Variable(e[1]), storage=bh.storage.Weight())
    h.fill(py, px, weight=v)
    np.testing.assert_allclose(bin_points(g, py, px, v), h.values().reshape(g.shape), atol=1e-12)

def test_edges_belong_to_the_cell_above():
    g = Grid((2,3), (0., 2.), (0., 3.))
    assert g.locate([0, .999, 1, 1.999], [0, 1, 1, 2.999]).tolist() == [0, 1, 4, 5]
    assert g.locate([2, 1, -1e-12, np.nan, np.inf, -np.inf], [0, 3, 0, 0, 0, 0]).tolist() == [-1]*6
    assert g.locate([2, 1, -5, np.nan, np.inf], [0, 3, 9, 0, 0], 'clip').tolist() == [3, 5, 2, -1, 3]
    assert g.locate([[.5]], [[.5]]).shape == (1, 1) and g.locate([], []).shape == (0,) and g.locate(.5, .5) == 0
    with pytest.raises(DataError, match='2 of 3 points lie outside'): g.locate([0, 2, np.nan], [0, 0, 0], 'raise')
    with pytest.raises(DataError, match="'wrap'"): g.locate([0], [0], 'wrap')

def test_every_edge_of_every_grid_is_in_its_own_cell():
    for n in range(1, 200):
        e = np.linspace(-19.5, 60.5, n+1)
        assert (Grid((n, 1), (-19.5, 60.5)).locate(e[:-1], np.zeros(n)) == np.arange(n)).all()
        assert (Grid((n, 1), (-19.5, 60.5)).locate(np.nextafter(e[1:], -np.inf), np.zeros(n)) == np.arange(n)).all()

def test_centres_come_back():
    for shape,kind in ((80,180), 'coast'), ((40,50), 'plain'), ((1,3), 'globe'):
        g = grid(shape, kind); yy,xx = np.meshgrid(g.y_centres, g.x_centres, indexing='ij')
        assert (g.locate(yy, xx).ravel() == np.arange(g.D)).all()
        if min(shape) > 1:
            again = Grid.from_coords(g.y_centres, g.x_centres, sphere=g.sphere)
            np.testing.assert_allclose([again.y, again.x], [g.y, g.x])
    g = Grid.from_coords(np.arange(-19, 61), np.arange(181, 361), sphere=True)
    assert (g.shape, g.y, g.x) == ((80,180), (-19.5, 60.5), (180.5, 360.5))

@pytest.mark.parametrize('shape,kw,error,text',
                         [((0,3), {}, ScheduleError, 'at least 1'), ((3,0), {}, ScheduleError, 'at least 1'),
                          ((2.5,3), {}, ScheduleError, r'\(2.5, 3\)'),
                          ((3,), {}, ScheduleError, 'rows and columns'), ('ab', {}, ScheduleError, 'whole numbers'),
                          (None, {}, ScheduleError, 'None'),
    ((2,2), dict(y=(3, 1)), DataError, 'sort the axis first'),
    ((2,2), dict(x=(1, np.nan)), DataError, 'low to high'), ((2,2), dict(mask=np.zeros((2,2), bool)), DataError,
        'every cell is masked')])
def test_grids_refused(shape, kw, error, text):
    with pytest.raises(error, match=text): Grid(shape, **kw)

@pytest.mark.parametrize('c,text', [([3, 2, 1], 'sort it first'), ([1, 2, 4], 'equally spaced'),
                                    ([1, np.nan, 3], 'without gaps'), ([], 'without gaps'), ([1, 1, 2], 'ascend')])
def test_coordinates_refused(c, text):
    with pytest.raises(DataError, match=text): Grid.from_coords(c, [1, 2, 3])

def test_geometry_by_hand():
    g = Grid((2,3), (1, 4), (10, 14))
    assert g.diagonal == 5 and g.D == 6 and (g.area == 2).all() and g.names == ('y','x') and not g.sphere
    assert {k: v.tolist() for k,v in g.coords().items()} == dict(y=[1.75, 3.25], x=pytest.approx([10+2/3, 12, 13+1/3]))
    one = Grid.from_coords([5.], [1., 3.]); assert (one.y, one.x, one.names) == ((4.5, 5.5), (0., 4.), ('y','x'))
    # rows centred on the poles are cut there
    ball = Grid((3,4), (-135, 135), (0, 360), ('lat','lon'), True)
    rows = np.diff(np.sin(np.deg2rad([-90, -45, 45, 90])))*90
    np.testing.assert_allclose(ball.area, np.repeat(rows[:,None], 4, 1)); assert ball.sphere
    for y,said in ((80, 104), 'centred on 86 to 98'), ((-104, -80), 'centred on -98 to -86'), ((-184, 184),
            'centred on -92 to 92'):
        with pytest.raises(DataError, match=said): Grid((2,2), y, sphere=True)
    assert Grid((2,2), (-100, 80), sphere=True).D == 4 and Grid((2,2), (91, 99)).D == 4

def test_a_grid_has_its_own_copies():
    mask,area = np.ones((2,2), bool),torch.ones(2, 2, requires_grad=True)
    a,b = Grid((2,2), mask=mask),Grid((2,2), area=area)
    mask[:] = False
    with torch.no_grad(): area[:] = 7
    assert a.mask.all() and (b.area
                             == 1).all() and not b.area.requires_grad and a.area.dtype == b.area.dtype == torch.float64
    part = Grid((2,2), mask=[[1, 0], [1, 1]], area=[5, 6, 7, 0])
    assert part.area.tolist() == [[5., 0.], [7., 0.]] and part.mask.tolist() == [[True, False],
            [True, False]] and part.share.sum() == 1

def test_which_axis_is_wrong():
    for y,x,said in ([0, 1], [3, 2], 'x must ascend; got 3, 2'), ([0, 0], [1, 2], 'y must ascend'), ([0, 1, 3],
            [1, 2], 'y must be equally spaced; its steps run from 1 to 2'), ([0, 1], [],
            'x must be a list'), ([[0]], [1], 'y must be a list'), ([0], [np.nan], 'x must be a list'):
        with pytest.raises(DataError, match=said): Grid.from_coords(y, x)
        with pytest.raises(DataError, match=dict(y='lat', x='lon')[said[0]]+said[1:]):
            Grid.from_coords(y, x, names=('lat','lon'))
    with pytest.raises(DataError, match='along lat must'): Grid((1,1), (2, 2), names=('lat','lon'))
    with pytest.raises(DataError, match='along x must'): Grid((1,1), x=(2, 1))
    almost = Grid.from_coords([0, 1, 2.0009], [0, 1]); assert almost.y == pytest.approx((-.50022, 2.50112), abs=1e-4)
    for to in Grid((1,1), (0, 2), (0, 1)), Grid((1,1), (0, 1), (0, 2)):
        with pytest.raises(DataError, match='same rectangle'): regrid_sum(torch.ones(1, 1), to, Grid((1,1)))

@pytest.mark.parametrize('x,round_', [((0, 360), True), ((10, 350), False)])
def test_neighbours_by_hand(x, round_):
    mask = np.ones((3,4), bool); mask[1,1] = False
    g = Grid((3,4), (-30, 30), x, sphere=True, mask=mask)
    assert g.circle == round_
    cells = [(i, j) for i in range(3) for j in range(4) if mask[i,j]]; number = lambda c: c[0]*4+c[1]
    down = {(number(c), number((c[0]+1, c[1]))) for c in cells if (c[0]+1, c[1]) in cells}
    right = {frozenset((number(c), number((c[0], (c[1]+1)%4))))
             for c in cells if (c[0], (c[1]+1)%4) in cells and (round_ or c[1]<3)}
    dy,dx = g.neighbours()
    assert set(zip(*dy.tolist())) == down and dy.shape[1] == len(down) and set(map(frozenset,
            zip(*dx.tolist()))) == right and dx.shape[1] == len(right)
    # one edge, not two
    two = Grid((1,2), (0, 1), (0, 360), sphere=True)
    assert two.circle and two.neighbours()[1].tolist() == [[0], [1]] and two.neighbours()[0].shape == (2, 0)
    assert not Grid((1,4), (0, 1), (0, 360)).circle

def test_grids_say_what_they_are():
    assert repr(Grid((2,3))) == 'Grid(2x3, y 0..2, x 0..3)' and repr(Grid((1,2), (0, 9), (-5, 5), ('lat','lon'),
            True, [[True, False]])) == 'Grid(1x2, lat 0..9, lon -5..5, sphere, 1 of 2 cells valid)'

def test_averages_of_points():
    g = Grid((2,2)); at = [.5, .5, 1.5, 9], [.5, .5, .5, .5]
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        np.testing.assert_array_equal(bin_points(g, *at, [1, 3, 5, 7], 'mean'), [[2, np.nan], [5, np.nan]])
    np.testing.assert_array_equal(bin_points(g, *at, [1, 3, 5, 7]), [[4, 0], [5, 0]])
    np.testing.assert_array_equal(bin_points(g, *at, outside='clip'), [[2, 0], [2, 0]])
    with pytest.raises(DataError, match="'sum' or 'mean'; got 'max'"): bin_points(g, *at, reduce='max')
    assert g.locate([.5, np.nan], [np.nan, .5], 'clip').tolist() == [-1, -1]  # what is missing is nowhere
    with pytest.raises(DataError, match="outside must be"): g.locate(0, 0, 'fail')

def test_other_rectangles_refused():
    with pytest.raises(DataError, match='same rectangle'): regrid_mean(draw(4, 4), Grid((2,2)), Grid((4,4)))

# ---- finegraining and its adjoint

@pytest.mark.parametrize('land', ['plain', 'land', 'globe', 'coast'])
@pytest.mark.parametrize('kind', ['count', 'mean'])
@pytest.mark.parametrize('method', [None, *COPY_METHODS])
@pytest.mark.parametrize('lo,hi', PAIRS)
def test_coarsening_is_the_adjoint(lo, hi, method, kind, land):
    fine = grid(hi, land); rough = fine.coarsen(lo); W,X = draw(2, *lo),draw(2, *hi)
    W0,X0 = W.clone(),X.clone()
    up,down = finegrain(W, fine, kind=kind, method=method, source=rough),coarsen(X, rough, kind=kind,
            method=method, source=fine)
    a,b = (up*X).sum(),(W*down).sum()
    assert up.shape == X.shape and down.shape == W.shape and (W == W0).all() and (X == X0).all()
    assert abs(a-b) <= 1e-12*(up.norm()*X.norm()).clamp(min=1)
    assert (up[:, ~fine.mask] == 0).all()

@pytest.mark.parametrize('lo,hi', PAIRS)
def test_shapes_are_plain_grids(lo, hi):
    for kind in 'count','mean':
        torch.testing.assert_close(finegrain(draw(*lo), hi, kind=kind),
                                   finegrain(draw(*lo), Grid(hi), kind=kind, source=Grid(hi).coarsen(lo)), rtol=0,
                                   atol=1e-12)
        torch.testing.assert_close(coarsen(draw(*hi), lo, kind=kind),
                                   coarsen(draw(*hi), Grid(hi).coarsen(lo), kind=kind, source=Grid(hi)), rtol=0,
                                   atol=1e-12)

@pytest.mark.parametrize('land', ['plain', 'land', 'globe', 'coast'])
@pytest.mark.parametrize('kind', ['count', 'mean'])
@pytest.mark.parametrize('lo,hi', [p for p in PAIRS if nested(*p)])
def test_nested_cells_are_copied(lo, hi, kind, land):
    fine = grid(hi, land); rough = fine.coarsen(lo); W = draw(*lo); up = finegrain(W, fine, kind=kind, source=rough)
    for i,j in np.ndindex(*hi):
        at = i*lo[0]//hi[0],j*lo[1]//hi[1]
        scale = float(fine.share[i, j]/rough.share[at]) if kind == 'mean' and rough.mask[at] else 1.
        assert abs(up[i, j]-(W[at]*scale if fine.mask[i, j] else 0.)) < 1e-13
    X = draw(*hi)  # the adjoint is what `Grid` calls sums and averages
    if kind == 'mean':
        np.testing.assert_allclose(coarsen(X, rough, kind='mean', source=fine)[rough.mask],
                                   regrid_mean(torch.where(fine.mask, X, torch.nan), rough,
                                               fine)[rough.mask], atol=1e-12)

@pytest.mark.parametrize('land', ['plain', 'globe', 'coast'])
@pytest.mark.parametrize('kind', ['count', 'mean'])
@pytest.mark.parametrize('method', COPY_METHODS)
@pytest.mark.parametrize('lo,hi', [((4,9), (8,18)), ((3,6), (6,11)), ((5,9), (8,18)), ((1,1), (3,4))])
def test_norm_is_the_dense_one(lo, hi, method, kind, land):
    fine = grid(hi, land); rough = fine.coarsen(lo); unit = torch.eye(rough.D, dtype=torch.float64).reshape(-1, *lo)
    dense = finegrain(unit, fine, kind=kind, method=method, source=rough).flatten(1).T
    assert abs(operator_norm(rough, fine, kind=kind, method=method)/torch.linalg.matrix_norm(dense, 2)-1) < 1e-10

def test_a_shape_is_a_grid_without_land():
    # an average of one
    source = Grid((2,2), mask=[[True, True], [True, False]])
    got = finegrain(source.share, (4,4), kind='mean', source=source)
    np.testing.assert_allclose(got*16, np.kron([[1, 1], [1, 0]], np.ones((2,2))))
    assert nested((2,3), (4,9)) and nested((1,1), (7,5)) and not nested((2,3), (4,8)) and not nested((2,3), (5,9))

def test_norms_without_land_take_the_rectangle_of_the_other_grid():
    lo = Grid((2,3), (-60, 75), (0, 90), ('lat','lon'), True); hi = Grid((5,6), (-60, 75), (0, 90), ('lat','lon'), True)
    for kind in 'count','mean':
        both = operator_norm(lo, hi, kind=kind)
        assert [operator_norm(lo, (5,6), kind=kind), operator_norm((2,3), hi, kind=kind)] == pytest.approx([both, both])
        for a,b in (lo, hi), (Grid((2,3), mask=[[1, 1, 0], [1, 1, 1]]), Grid((4,6))):
            dense = np.stack([finegrain(torch.from_numpy(e).reshape(a.shape), b, kind=kind,
                                        source=a).numpy().ravel() for e in np.eye(a.D)], 1)
            assert operator_norm(a, b, kind=kind) == pytest.approx(np.linalg.norm(dense, 2))
    with pytest.raises(ConfigError, match="kind must be 'count'"): operator_norm((1,1), (2,2), kind='sum')

def test_published_norms():
    assert abs(operator_norm((10,20), (20,40), kind='count', method='nearest')
               -2) < 1e-12 and abs(operator_norm((10,20), (20,40), kind='mean')-.5) < 1e-12

@pytest.mark.parametrize('call,error,text', [(lambda: finegrain(draw(4,4), (2,8)), ScheduleError, 'coarse to fine'),
                                             (lambda: finegrain(draw(4,4), (8,8), kind='sum'), ConfigError,
                                              "'sum'"), (lambda: finegrain(draw(4,4), (8,8), method='cubic'),
        ConfigError, "'cubic'"),
    (lambda: coarsen(draw(4,4), (8,8)), ScheduleError, 'coarse to fine'),
    (lambda: coarsen(draw(4,4), (2,2), kind=None), ConfigError, 'kind'),
    (lambda: finegrain(draw(4,4), (8,8), source=Grid((2,2))), ScheduleError, 'source grid')])
def test_finegraining_refused(call, error, text):
    with pytest.raises(error, match=text): call()

# ---- properties of any grids

shapes = st.tuples(st.integers(1, 9), st.integers(1, 9))

@st.composite
def moves(draw_):
    "A coarse and a fine grid, with or without land, on a plane or a globe."
    lo = draw_(shapes); hi = tuple(n+draw_(st.integers(0, 9)) for n in lo); seed = draw_(st.integers(0, 10**6))
    mask = islands(hi, draw_(st.sampled_from([0., .2, .6])), seed)
    fine = Grid(hi, **(WORLD if draw_(st.booleans()) else {}), mask=mask)
    return fine.coarsen(lo),fine,seed

@settings(max_examples=60, deadline=None, derandomize=True)
@given(moves(), shapes)
def test_sums_keep_the_total_and_means_a_constant(move, shape):
    _,fine,seed = move; to = fine.coarsen(shape)
    X = torch.from_numpy(np.random.default_rng(seed).normal(size=(2, *fine.shape)))
    X[0].masked_fill_(~fine.mask, torch.nan)
    X0 = X.clone()
    torch.testing.assert_close(regrid_sum(X, to, fine).sum((-2,-1)), X.nansum((-2,-1)), rtol=1e-11, atol=1e-11)
    torch.testing.assert_close(to.area.sum(), fine.area.sum(), rtol=1e-12, atol=0)
    const = regrid_mean(torch.where(fine.mask, 3.25, torch.nan).double(), to, fine)
    assert (const.isnan() == ~to.mask).all() and (const[to.mask]-3.25).abs().max() < 1e-12
    m = regrid_mean(X, to, fine); lo,hi = X[1][fine.mask].min(),X[1][fine.mask].max()
    assert (m[1][to.mask] >= lo-1e-12).all() and (m[1][to.mask] <= hi+1e-12).all()
    torch.testing.assert_close((m[1].nan_to_num()*to.area).sum(), (X[1]*fine.area).sum(), rtol=1e-10, atol=1e-10)
    assert torch.equal(X.nan_to_num(7.), X0.nan_to_num(7.))

@settings(max_examples=60, deadline=None, derandomize=True)
@given(moves(), st.sampled_from([None, *COPY_METHODS]))
def test_finegraining_keeps_constants_bounds_and_mass(move, method):
    rough,fine,seed = move; rng = np.random.default_rng(seed)
    W,X = (torch.from_numpy(rng.normal(size=(2, *g.shape))) for g in (rough, fine)); W0,X0 = W.clone(),X.clone()
    flat = finegrain(torch.full(rough.shape, 2.5, dtype=torch.float64), fine, method=method, source=rough)
    assert (flat[fine.mask]-2.5).abs().max() < 1e-12 and (flat[~fine.mask] == 0).all()
    up = finegrain(W, fine, method=method, source=rough)[:, fine.mask]
    for s in range(2):
        assert up[s].max() <= W[s][rough.mask].max()+1e-12 and up[s].min() >= W[s][rough.mask].min()-1e-12
    torch.testing.assert_close(coarsen(X, rough, method=method, source=fine).sum((-2,-1)), X[:, fine.mask].sum(-1),
                               rtol=1e-10, atol=1e-10)
    if method in (None, 'overlap') and not fine.mask.all(): return
    for p in prolongation(rough, fine, method):
        torch.testing.assert_close(p.sum(1), torch.ones(len(p), dtype=torch.float64), rtol=1e-12, atol=0)
    assert torch.equal(W, W0) and torch.equal(X, X0)

@settings(max_examples=60, deadline=None, derandomize=True)
@given(moves())
def test_masked_values_have_no_say(move):
    rough,fine,seed = move; rng = np.random.default_rng(seed); W = torch.from_numpy(rng.normal(size=rough.shape))
    loud = torch.where(rough.mask, W, 1e9)
    for method in COPY_METHODS:
        assert torch.equal(finegrain(W, fine, method=method, source=rough),
                           finegrain(loud, fine, method=method, source=rough))

@settings(max_examples=60, deadline=None, derandomize=True)
@given(shapes, st.floats(-100, 100), st.floats(.1, 100), st.integers(0, 10**6))
def test_points_are_in_the_cell_that_holds_them(shape, lo, size, seed):
    g = Grid(shape, (lo, lo+size), (lo-size, lo)); rng = np.random.default_rng(seed)
    y,x = rng.uniform(g.y[0]-1, g.y[1]+1, 50),rng.uniform(g.x[0]-1, g.x[1]+1, 50)
    cell = g.locate(y, x); ok = cell >= 0
    assert (ok == ((y >= g.y[0])&(y < g.y[1])&(x >= g.x[0])&(x < g.x[1]))).all()
    ey,ex = np.linspace(*g.y, g.h+1),np.linspace(*g.x, g.w+1); i,j = cell[ok]//g.w,cell[ok]%g.w
    assert (ey[i] <= y[ok]).all() and (y[ok] < ey[i+1]).all() and (ex[j] <= x[ok]).all() and (x[ok] < ex[j+1]).all()
    assert bin_points(g, y, x).sum() == ok.sum()

# ---- the paper's ladder

LADDER = [(4, 9), (8, 18), (12, 27), (24, 54), (40, 90), (60, 135), (80, 180)]

@pytest.mark.parametrize('level', range(7))
@pytest.mark.parametrize('kind', ['whole', 'land', 'land and gaps'])
def test_every_level_of_the_papers_ladder_keeps_area_means(level, kind):
    rng = np.random.default_rng(level); mask = islands((80, 180), 0. if kind == 'whole' else .4, level)
    fine = Grid((80, 180), (-20, 60), (180, 360), ('lat', 'lon'), True, mask)
    X = torch.from_numpy(280+rng.normal(size=(3, 80, 180)))
    if kind == 'land and gaps': X[torch.from_numpy(rng.random((3, 80, 180)) < .05)] = torch.nan
    X = X.masked_fill(~fine.mask, torch.nan)
    area = fine.area*X.isfinite()
    mean = (X.nan_to_num()*area).sum((-2, -1))/area.sum((-2, -1))
    to = fine.coarsen(LADDER[level]); valid = regrid_sum(area, to, fine); got = regrid_mean(X, to, fine)
    torch.testing.assert_close((got.nan_to_num()*valid).sum((-2, -1))/valid.sum((-2, -1)), mean, rtol=1e-12, atol=0)
    ones = regrid_mean(torch.ones_like(X).masked_fill(X.isnan(), torch.nan), to, fine)
    assert (ones.isnan() == (valid <= 0)).all() and (ones[valid > 0]-1).abs().max() < 1e-12
    torch.testing.assert_close(to.area.sum(), fine.area.sum(), rtol=1e-12, atol=0)

def test_the_papers_ladder_step_by_step_keeps_area_means():
    fine = Grid((80, 180), (-20, 60), (180, 360), ('lat', 'lon'), True, islands((80, 180), .4, 1))
    X = 280+torch.randn(4, 1, 80, 180, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    top = d = FieldDesign(X, fine, ('v',)); ones = one = FieldDesign(torch.ones_like(X), fine, ('v',))
    for shape in LADDER[-2::-1]:
        d,one = d.at(shape),one.at(shape)
        torch.testing.assert_close(d.u.sum((-2, -1)), top.u.sum((-2, -1)), rtol=1e-12, atol=0)
        torch.testing.assert_close(one.u, d.grid.share.expand_as(one.u), rtol=0, atol=1e-15)

@pytest.mark.parametrize('to,src', list(zip(LADDER, LADDER[1:])))
def test_the_papers_steps_equal_xarray_regrid(to, src):
    "Flat cells, where both mean the same by area."
    s = Grid(src, (0, 80), (0, 180)); t = s.coarsen(to); X = draw(2, *src)
    np.testing.assert_allclose(regrid_mean(X, t, s), regridded(X, s, t), atol=1e-10)
