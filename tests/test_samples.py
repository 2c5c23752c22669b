"What comes in, piece by piece, against numpy, pandas and xarray."
import cftime, numpy as np, pandas as pd, pytest, torch, xarray as xr
from mrtl.core import DataError
from mrtl.designs import FieldDesign, Mode
from mrtl.events import EventDesign
from mrtl.grids import Grid
from mrtl.nodes import Nodes
from mrtl.samples import (Data, Samples, array_design, as_design, as_targets, by_label, dates_of, entry_weights,
                          in_order, matched, places_of, same_grid, same_nodes,
    target_scale, unknown_labels)

RNG = np.random.default_rng(0)
MONTHS = pd.date_range('2001-01', periods=6, freq='MS')
X = xr.DataArray(RNG.normal(size=(6, 3, 2, 2, 4)), dict(time=MONTHS, variable=['a', 'b', 'c'], level=[10, 20],
        lat=[0., 1.], lon=[5., 6., 7., 8.]), ('time', 'variable', 'level', 'lat', 'lon'))

def design(da): return FieldDesign.from_xarray(da, dtype=torch.float64)
def refused(text, f, *args):
    with pytest.raises(DataError, match=text): f(*args)

# ---- the same place

def test_same_grid():
    mask = np.ones((2, 3), bool); mask[0,0] = False; g = Grid((2,3), (0, 4), (1, 7))
    assert same_grid(g, Grid((2,3), (0, 4), (1, 7)))
    for other in Grid((3,2), (0, 4), (1, 7)), Grid((2,3), (0, 5), (1, 7)), Grid((2,3), (0, 4), (0, 6)), Grid((2,3),
            (0, 4), (1, 7), mask=mask), Grid((2,3), (0, 4), (1, 7), sphere=True):
        assert not same_grid(g, other)

def test_same_nodes():
    n = Nodes([0., 1., 2.], [0., 2.], period=(4., None))
    assert same_nodes(n, Nodes([0., 1., 2.], [0., 2.], period=(4., None)))
    for other in Nodes([0., 1., 2.], [0., 2.]), Nodes([0., 1., 2.], [0., 3.],
            period=(4., None)), Nodes([0., 1., 3.], [0., 2.], period=(4., None)), Nodes([0., 1.],
            [0., 2.], period=(4., None)):
        assert not same_nodes(n, other)

@pytest.mark.parametrize('shape,modes', [((5, 7), [1, 7]), ((5, 2, 3), [6]), ((5, 4, 2, 3), [4, 6])])
def test_arrays(shape, modes):
    x = RNG.normal(size=shape); d = array_design(x); cells = np.prod(shape[-2:] if len(shape)>2 else shape[-1:])
    assert len(d) == 5 and d.grid.D == cells and (d.grid.y, d.grid.x) == ((0., d.grid.h), (0., d.grid.w))
    np.testing.assert_allclose(d.u.numpy().ravel()*cells, x.ravel())
    assert as_design(x).u.dtype == torch.float64

# ---- names

def test_places():
    k = Mode('v', 3, labels=['a', pd.Timestamp('2001-01'), 3])
    # as text, since a model file keeps dates as text
    assert places_of(Mode('v', 3, labels=['3', '2001-01-01 00:00:00', 'a']), k) == [2, 1, 0]
    assert places_of(Mode('v', 2, labels=['b', 'a']), k) == [None, 0] and places_of(Mode('v', 2),
            k) == places_of(Mode('v', 2, labels='xy'), Mode('v', 2)) == [0, 1]

def test_unknown_labels_are_told_up_to_five():
    k = Mode('v', 7, labels=list('abcdefg'))
    assert unknown_labels(Mode('v', 1), k,
                          ['x']) == 'v of X has the labels x, but the model was fitted on a, b, c, d, e and 2 more'
    assert (unknown_labels(Mode('v', 1), Mode('v', 5, labels=list('abcde')), list('123456')) == 'v of X has the '
            'labels 1, 2, 3, 4, 5 and 1 more, but the model was fitted on a, b, c, d, e')

def test_fields_in_another_order():
    want = design(X); d = matched(design(X.sel(variable=['c', 'a', 'b'], level=[20, 10])), want.modes)
    np.testing.assert_array_equal(d.u, want.u); assert [m.labels for m in d.modes] == [m.labels for m in want.modes]
    same = design(X); assert matched(same, want.modes) is same
    refused('labels x, but the model was fitted on a, b, c: give', matched,
            design(X.assign_coords(variable=['a', 'x', 'c'])), want.modes)
    refused('level of X names an entry twice: 10, 10', matched, design(X.assign_coords(level=[10, 10])), want.modes)

PLAYERS = ['ann', 'bob', 'cy', 'dee']
def table(*names): return EventDesign.from_table(pd.DataFrame(dict(who=names)), dict(who='who'))
def test_events_by_name():
    known = table(*PLAYERS)
    for names in ('dee', 'bob', 'dee'), ('ann',), PLAYERS[::-1], ('bob', 'cy', 'ann', 'dee'):
        d = matched(table(*names), known.modes)
        assert [PLAYERS[i] for i in d.idx['who'][:,0]] == list(names) and d.modes[0].labels == PLAYERS
    d = matched(EventDesign(dict(who=[[0, -1], [1, 0]]), [Mode('who', 2, indexed=True, labels=['cy', 'bob'])]),
                known.modes)
    assert d.idx['who'].tolist() == [[2, -1], [1, 2]]
    # as many, in another order
    d = matched(EventDesign(dict(who=[0, 1, 3]),
                            [Mode('who', 4, indexed=True, labels=['dee', 'ann', 'cy', 'bob'])]), known.modes)
    assert d.idx['who'].tolist() == [[3], [0], [1]] and d.modes[0].labels == PLAYERS
    same = table(*PLAYERS); assert matched(same, known.modes).idx['who'] is same.idx['who']
    refused('has the labels eve, zoe, but .* in 3 places: leave', matched,
            table('eve', 'ann', 'zoe', 'eve'), known.modes)
    m = Mode('who', 4, indexed=True)
    d = EventDesign(dict(who=[3, 0]), [m])
    assert matched(d, [m]).idx['who'].tolist() == [[3], [0]]
    refused('modes', matched, d, known.modes); refused('modes', matched, known, [m])  # names on one side only

def test_other_modes_grids_and_nodes_are_refused():
    want = design(X).modes
    refused('modes .*but the model was fitted on', matched, design(X.rename(level='height')), want)
    refused(r"modes .*'variable', 2.*fitted on .*'variable', 3", matched, design(X.isel(variable=[0, 1])), want)
    refused('lies on Grid.* in space', matched, design(X.assign_coords(lat=[1., 2.])), want)
    curve = lambda m: EventDesign({}, [m], {m.name: np.eye(3)}) if m.nodes else EventDesign({m.name: [0, 1, 2]}, [m])
    a,b,c = (Mode('age', 3, nodes=Nodes(v)) for v in ([0, 1, 2], [0, 1, 2], [0, 1, 3]))
    plain = Mode('age', 3, indexed=True)
    assert matched(curve(a), [b]).modes == [a]
    for m,k in (a, c), (a, plain), (plain, a): refused('age has the nodes', matched, curve(m), [k])
    spot = Mode('spot', 4, grid=Grid((2,2)), indexed=True)
    refused('lies on None', matched, EventDesign(dict(spot=[0]), [Mode('spot', 4, indexed=True)]), [spot])

def test_dimensions_by_name():
    want = design(X).modes
    assert in_order(X.transpose('time', 'level', 'variable', 'lat', 'lon'),
                    want).dims == X.dims and in_order(X, None) is X
    refused('modes variable and a map, but the model was fitted on variable, level and a map', in_order,
            X.isel(level=0, drop=True), want)
    refused('fitted on a map', in_order, X, want[-1:])
    np.testing.assert_array_equal(as_design(X).u, design(X).u)
    np.testing.assert_array_equal(as_design(X.transpose('lat', 'level', 'time', 'lon', 'variable'), want).u,
                                  design(X).u)
    np.testing.assert_array_equal(as_design(X.assign_coords(lon=X.lon-360), want).u, design(X).u)

def test_no_sample_and_no_number():
    for x in X[:0], X.values[:0], design(X).take([]): refused('no sample', as_design, x)
    bad = X.values.copy(); bad[5,2,1,1,3] = np.nan
    refused('NaN or infinite', as_design, bad)
    refused('NaN or infinite', as_design, FieldDesign(torch.from_numpy(bad), Grid((2,4)), ('variable','level')))

# ---- dates

def test_dates():
    want = [f'2001-0{k}-01 00:00:00' for k in range(1, 7)]; z = np.zeros((6, 2))
    cf = xr.date_range('2001-01', periods=6, freq='MS', calendar='noleap', use_cftime=True)
    for v in X, X.transpose('lon',
                            ...), X.to_dataset('variable'), X.rename(time='when'), design(X), pd.Series(range(6),
            MONTHS), pd.DataFrame(z, MONTHS), pd.DataFrame(z, MONTHS.to_period('M')), pd.Series(range(6),
            MONTHS.tz_localize('UTC')), xr.DataArray(z, dict(time=cf), ('time','k')):
        assert list(dates_of(v)) == want
    assert list(dates_of(design(X).take([4, 0]))) == [want[4],
            want[0]] and list(dates_of(FieldDesign.from_xarray(X, leads=2))) == want[2:]
    for v in X.values, X.drop_vars('time'), X.drop_vars('time').to_dataset('variable'), pd.Series(range(6)), list(range(6)), None, design(X.drop_vars('time')), table('a'):
        assert dates_of(v) is None
    refused('index of 2 levels', dates_of, pd.DataFrame(z, pd.MultiIndex.from_product([MONTHS[:2], [1, 2, 3]])))

def test_aligned_by_label():
    y = pd.Series(np.arange(8.), pd.date_range('2000-12', periods=8, freq='MS')); want = [1., 2., 3., 4., 5., 6.]
    mixed = y.sample(frac=1, random_state=0)
    for v in y, mixed, y.to_frame(), xr.DataArray(mixed.values, dict(time=mixed.index), ('time',)):
        assert np.ravel(by_label(v, X)).tolist() == want
    two = xr.DataArray(np.arange(12.).reshape(6, 2), dict(time=MONTHS[::-1]), ('time','k'))
    np.testing.assert_array_equal(by_label(two, X), two.values[::-1])
    assert by_label(want, X) is want and by_label(y, X.values) is y
    refused('1 of 6 times of X, such as 2001-06-01 00:00:00, are not among those of weights',
            by_label, y[:6], X, 'weights')
    refused('y has 2001-01-01 00:00:00 more than once', by_label, pd.concat([y[1:2], y]), X)
    late = pd.concat([y, y[:1]]).iloc[1:]; assert by_label(late, X).tolist() == want  # order does not matter

# ---- targets

def test_targets():
    m = np.ma.MaskedArray([[1, 2], [3, 4]], [[False, True], [False, False]])
    for y,want in [([1, 2], [[1.], [2.]]), (np.array([True, False]), [[1.], [0.]]), (m, [[1., np.nan], [3., 4.]]),
                   (np.array([[1., np.nan], [3., 4.]]), [[1., np.nan], [3., 4.]]),
                   (np.ma.MaskedArray([1, 2]), [[1.], [2.]])]:
        got = as_targets(y, 2); np.testing.assert_array_equal(got, want); assert got.dtype == float
    y = np.ones(2); as_targets(y, 2)[0] = 5; assert y[0] == 1  # a copy
    for y,text in [(None, 'y is needed'), ([1j, 2], 'complex128'), (MONTHS[:2].values, 'datetime64'),
                   (MONTHS[:2].values-MONTHS[0].to_datetime64(), 'timedelta64'), (['a', 'b'], 'must hold numbers'),
                   ([1., 2., 3.], r'for 2 samples; got \(3,\)'),
        (np.ones((2, 1, 1)), r'got \(2, 1, 1\)'), (3., r'got \(\)'), ([1., np.nan], 'NaN in 1 of 2'),
        ([np.inf, np.nan], 'infinity in 2 of 2'), ([[1., -np.inf], [1., 2.]], 'infinity in 1 of 4')]:
        refused(text, as_targets, y, 2)

def test_targets_and_inputs_share_their_numbers():
    x = xr.DataArray(np.zeros((3, 2, 2)), dict(run=[1, 2, 3]), ('run','y','x'))
    y = xr.DataArray([1., 2., 3.], dict(run=[1, 2, 4]), ('run',))
    refused('the same run', as_targets, y, 3, x)
    assert as_targets(y.assign_coords(run=[1, 2, 3]), 3, x)[:,0].tolist() == as_targets(y, 3,
            x.drop_vars('run'))[:,0].tolist() == as_targets(y.drop_vars('run'), 3, x)[:,0].tolist() == [1., 2., 3.]
    assert as_targets(xr.DataArray(np.arange(6.), dict(time=MONTHS[::-1]), ('time',)), 6,
                      X)[:,0].tolist() == [5., 4., 3., 2., 1., 0.]

def test_scale_is_the_weighted_moments():
    Y = RNG.normal(3, 2, (20, 3))
    Y[RNG.random(Y.shape)<.3] = np.nan; Y[:,2] = 1e9
    w = RNG.random(20); mean,sd = target_scale(Y, w)
    for k in range(2):
        ok = np.isfinite(Y[:,k]); m = np.average(Y[ok,k], weights=w[ok])
        assert mean[k] == pytest.approx(m) and sd[k] == pytest.approx(np.sqrt(np.average((Y[ok,k]-m)**2,
                weights=w[ok])))
    assert sd[2] == 1 and mean[2] == pytest.approx(1e9)
    tiny = target_scale(np.array([[1.], [1+1e-9]]), np.ones(2))[1]; assert tiny == pytest.approx(5e-10, rel=1e-5)
    for k in (1e-150, 1e150): np.testing.assert_allclose(target_scale(Y[:,:1]*k, w)[1], sd[:1]*k)

# ---- samples

def test_samples():
    d = design(X); s = Samples(d, np.arange(12).reshape(6, 2), groups=list('aabbcc'))
    assert len(s) == 6 and s.outputs == 2 and s.w.tolist() == [1.]*6 and s.y.dtype == s.w.dtype == float
    t = Samples(d, s.y, [1, 2, 3, 4, 5, 6], list('aabbcc')).take([4, 1])
    assert t.y.tolist() == [[8., 9.], [2., 3.]] and t.w.tolist() == [5., 2.] and t.groups.tolist() == ['c',
            'a'] and s.take(np.arange(6)>3).groups.tolist() == ['c', 'c']
    np.testing.assert_array_equal(t.design.u[t.design.rows], d.u[[4, 1]])
    assert Samples(d, s.y).take([0]).groups is None

def test_entry_weights():
    y = torch.tensor([[1., np.nan], [2., 3.], [np.nan, 4.]])
    np.testing.assert_allclose(entry_weights(y), np.array([[1, 0], [1, 1], [0, 1]])*1.5)
    e = entry_weights(y, [1, 3, 0])
    np.testing.assert_allclose(e, np.array([[1, 0], [3, 3], [0, 0]])*6/7)
    assert e.dtype == torch.float64 and e.mean() == pytest.approx(1)
    np.testing.assert_allclose(entry_weights(y, [1e-9, 3e-9, 0]), e)
    for w in [1, 2], [1, 2, -1], [1, 2, np.nan], [1, np.inf, 1], [0, 0, 0], np.ones((3, 1)):
        refused('sample_weight must be 3 finite numbers', entry_weights, y, w)
    refused('output 1 has no observed value', entry_weights, y, [1, 0, 0])
    refused('output 0 has', entry_weights, y, [0, 0, 1])

def test_resident_data():
    d = design(X); y = torch.arange(6.)[:,None]; y[2] = np.nan; w = [1, 2, 3, 4, 5, 6]
    whole,half = Data(d, y, w),Data(d.take(range(2, 6)), y, w, torch.float64, part=slice(2, 6))
    assert (len(whole), len(half), half.n) == (6, 4, 6) and {whole.y.dtype, whole.e.dtype,
            whole.design.u.dtype} == {torch.float32} and {half.y.dtype, half.e.dtype} == {torch.float64}
    assert whole.y[:,0].tolist() == [0., 1., 0., 3., 4., 5.] and half.y[:,0].tolist() == [0., 3., 4., 5.]
    # weighed over all processes
    want = np.array([1, 2, 0, 4, 5, 6])/3
    np.testing.assert_allclose(whole.e[:,0], want, rtol=1e-6)
    np.testing.assert_allclose(half.e[:,0], want[2:], rtol=1e-6)
    assert half.total(torch.tensor(1/3, dtype=torch.float64)) == 1/3
    refused('6 samples but 5 targets', Data, d, y[:5]); assert whole.total(torch.tensor(2.5)) == 2.5
    with pytest.raises(DataError, match='6 samples but 4 targets'): Data(d, y, part=slice(2, 6))

@pytest.mark.parametrize('size', [1, 3, 4, 11, 20])
def test_dealt_by_hand(size):
    order = torch.randperm(11, generator=torch.Generator().manual_seed(1)); grid = Grid((1,1))
    for part in None, slice(0, 5), slice(5, 11), slice(3, 4):
        d = Data(FieldDesign(torch.zeros(11, 1, 1)[part or slice(None)], grid), torch.arange(11.)[:,None], part=part)
        rows,cuts = d.deal(order, size)
        own = range(11)[part or slice(None)]
        batches = [order[k:k+size].tolist() for k in range(0, 11, size)]
        assert [d.y[rows[c],0].tolist() for c,_ in cuts] == [[float(i) for i in b if i in own]
                for b in batches] and [n for _,n in cuts] == [len(b) for b in batches]
