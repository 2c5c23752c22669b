"""Grids of cases for `mrtl.bootstrap`: blocks of every calendar, weights against repeated rows, alignment,
intervals by hand, files that belong to other runs."""
import numpy as np, pandas as pd, pytest, torch, xarray as xr
from mrtl import bootstrap as bs
from mrtl.events import EventDesign
from mrtl.designs import FieldDesign
from mrtl.bootstrap import Draw, align, block_bootstrap, block_weights, coverage, draw_factors, effect, interval, summarise, training_part
from mrtl.splits import time_blocks
from mrtl.bootstrap import align, block_bootstrap, block_weights, coverage, draw_factors, effect, interval, summarise, training_part
from mrtl.splits import time_blocks
from mrtl.core import ConfigError, DataError, FormatError
from mrtl.decompose import canonical, factor_match
from mrtl.estimators import MRTLClassifier, MRTLRegressor
from mrtl.grids import Grid
from mrtl.simulate import simulate_events, simulate_field

QUICK = dict(rank=2, schedule=[(2, 4), (4, 8)], full_levels=1, l2=.01, optimizer='adam', lr=.05,
             max_epochs=5, dtype='float64')

@pytest.fixture(scope='module')
def sim():
    s = simulate_field(260, (4, 8), leads=3, variables=2, rank=2, r2=.7, seed=1)
    return FieldDesign.from_xarray(s.X, leads=3, dtype=torch.float64),s.y.values[3:],s

# ---- blocks

@pytest.mark.parametrize('n,length', [(1, 24), (5, 24), (48, 24), (60, 24), (37, 24), (300, 12), (300, 37), (11, 1)])
@pytest.mark.parametrize('start', ['1899-11', '1970-01', '2020-12'])
def test_runs_are_cut_evenly(n, length, start):
    b = time_blocks(pd.date_range(start, periods=n, freq='MS').values, length)
    sizes = np.bincount(b)
    assert (np.diff(b) >= 0).all() and (np.diff(b) <= 1).all() and b[0] == 0
    assert len(sizes) == max(1, round(n/length)) and np.ptp(sizes) <= 1

@pytest.mark.parametrize('months', [[11, 12, 1], [6, 7, 8], [1], [12, 1, 2]])
@pytest.mark.parametrize('years', [1, 2, 3])
def test_a_season_is_never_cut(months, years):
    t = pd.date_range('1950-06', periods=240, freq='MS'); t = t[t.month.isin(months)]
    season = np.cumsum(np.diff(t.year*12+t.month, prepend=0) > 1)
    b = pd.Series(time_blocks(t.values, 12*years))
    assert (b.groupby(season).nunique() == 1).all()
    assert b.nunique() == -(-len(np.unique(season))//years)

def test_rows_in_any_order_and_twice_get_their_months_block():
    m = np.arange(100); b = time_blocks(m, 10); order = np.random.default_rng(0).permutation(np.repeat(m, 2))
    np.testing.assert_array_equal(time_blocks(order, 10), b[order])

def test_no_block_spans_another_sets_block():
    "Training months with holes of a validation block in between."
    m = np.r_[0:74, 111:148, 222:259]; b = time_blocks(m, 24)
    for k in np.unique(b): assert np.ptp(m[b == k]) < 37
    assert len(np.unique(b)) == 3+2+2

@pytest.mark.parametrize('times', [np.zeros(0, int), np.zeros((2, 2), int), np.array(['a']), np.array([1.5])])
def test_times_that_are_no_months(times):
    with pytest.raises(DataError, match='one time for each row'): time_blocks(times)

@pytest.mark.parametrize('length', [0, -3, 2.5, None])
def test_lengths_that_are_none(length):
    with pytest.raises(ConfigError, match='length'): time_blocks(np.arange(9), length)

@pytest.mark.parametrize('labels', [np.repeat(list('abcde'), 6), np.repeat([7, 3, 9, 1, 100], 6), np.arange(30)])
def test_whole_blocks_are_drawn(labels):
    for draw in range(1, 6):
        w = block_weights(labels, draw); by = pd.Series(w).groupby(labels)
        assert (by.nunique() == 1).all() and by.first().sum() == len(np.unique(labels)) and w.dtype.kind == 'i'
        np.testing.assert_array_equal(w, block_weights(labels, draw))
    assert len({tuple(block_weights(labels, d, s)) for d in range(1, 6) for s in range(3)}) > 10

# ---- weights are rows

@pytest.mark.parametrize('leads', [None, 1, 3])
@pytest.mark.parametrize('outputs', [1, 3])
@pytest.mark.parametrize('land', [False, True])
def test_weights_are_rows(leads, outputs, land):
    rng = np.random.default_rng(0)
    X = xr.DataArray(rng.normal(3, 2, size=(70, 2, 4, 6)), dims=('time', 'variable', 'lat', 'lon'),
                     coords=dict(lat=np.arange(4.), lon=200+np.arange(6.)))
    if land: X[:, :, 0, :2] = np.nan
    d = FieldDesign.from_xarray(X, leads=leads, dtype=torch.float64)
    y = rng.normal(size=(len(d), outputs))
    y[:20, 0] += 5
    if outputs > 1: y[3:9, 1] = np.nan
    y = y[:, 0] if outputs == 1 else y
    w = block_weights(np.arange(len(d))//7, 2); again = np.repeat(np.arange(len(d)), w)
    assert 0 in w and w.max() > 1
    for a, b in zip(d.moments(w), d.take(again).moments()): torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)
    kw = dict(rank=1, schedule=[(2, 3), (4, 6)], l2=.1, init='random', optimizer='sgd', lr=.05, dtype='float64',
              batch_size=1000, max_epochs=8)
    held = d.take(range(9, 20)),y[9:20]
    a,b = MRTLRegressor(**kw).fit(d, y, sample_weight=w,
                                  valid=held),MRTLRegressor(**kw).fit(d.take(again), y[again], valid=held)
    np.testing.assert_allclose(a.coef_, b.coef_, atol=1e-9*float(np.abs(b.coef_).max()))
    np.testing.assert_allclose(a.predict(d), b.predict(d), atol=1e-9)
    poisoned = d._like(u=d.u.clone())
    absent = np.setdiff1d(np.arange(len(d.u)),
                          np.unique(d.rows.numpy()[w > 0][:, None]-np.arange(0 if leads is None else 1,
            1 if leads is None else leads+1)))
    assert len(absent); poisoned.u[absent] = 1e6; z = y.copy(); z[w == 0] = 1e6
    c = MRTLRegressor(**kw).fit(poisoned, z, sample_weight=w, valid=held)
    np.testing.assert_array_equal(a.coef_.values, c.coef_.values)

# ---- alignment

@pytest.mark.parametrize('sizes', [(5, 7), (3, 4, 30), (2, 3, 4, 12)])
@pytest.mark.parametrize('k', [1, 2, 5])
@pytest.mark.parametrize('weighted', [False, True])
def test_any_order_sign_and_scale_comes_back(sizes, k, weighted):
    rng = np.random.default_rng(k)
    weights = [*[None]*(len(sizes)-1), torch.from_numpy(rng.random(sizes[-1])+.1) if weighted else None]
    _,G = canonical([torch.from_numpy(rng.normal(size=(n, k))) for n in sizes], weights)
    scale,order = torch.from_numpy(rng.normal(size=(len(sizes), 1, k))),torch.from_numpy(rng.permutation(k))
    F,strength,match = align([(f*s)[:, order] for f,s in zip(G, scale)], G, weights)
    for f,g in zip(F, G): torch.testing.assert_close(f, g)
    torch.testing.assert_close(strength, scale.prod(0)[0]); torch.testing.assert_close(match, torch.ones(k).double())

def test_match_is_factor_match_and_weights_count():
    rng = np.random.default_rng(0)
    F,G = ([torch.from_numpy(rng.normal(size=(n, 4))) for n in (3, 5, 9)] for _ in range(2))
    v = torch.from_numpy(rng.random(9)); weights = [None, None, v]
    assert align(F, G, weights)[2].mean().item() == pytest.approx(factor_match(F, G, weights), abs=1e-12)
    assert align(F, G, weights)[2].mean().item() != pytest.approx(align(F, G)[2].mean().item(), abs=1e-6)

def test_product_of_aligned_factors_is_the_draws_tensor():
    rng = np.random.default_rng(0)
    F,G = ([torch.from_numpy(rng.normal(size=(n, 3))) for n in (3, 5, 9)] for _ in range(2))
    aligned,s,_ = align(F, G)
    torch.testing.assert_close(torch.einsum('ak,bk,ck,k->abc', *aligned, s), torch.einsum('ak,bk,ck->abc', *F))

def test_other_shapes_are_refused():
    with pytest.raises(DataError, match="reference's shapes"): align([torch.ones(3, 2)], [torch.ones(4, 2)])

def test_a_draw_with_fewer_or_more_components():
    "Fewer: the missing one matches nothing. More: the best ones are kept."
    g = torch.Generator().manual_seed(0); G = [torch.randn(n, 2, generator=g, dtype=torch.float64) for n in (3, 4)]
    few,strength,match = align([f[:,1:] for f in G], G)
    assert [f.shape for f in few]==[(3, 2), (4, 2)] and strength[0]==0 and match[0]==0 and match[1]==pytest.approx(1)
    more,_,match = align([torch.cat([torch.randn(len(f), 1, generator=g, dtype=torch.float64), f.flip(1)], 1)
                          for f in G], G)
    assert [f.shape for f in more]==[(3, 2), (4, 2)] and match.tolist()==pytest.approx([1, 1])

# ---- intervals

@pytest.mark.parametrize('level', [.5, .9])
def test_interval_by_hand(level):
    v = np.arange(101.)[:, None]*[1, -1]; lower,upper = interval(v, level)
    np.testing.assert_allclose([lower, upper], [[50*(1-level), -50*(1+level)], [50*(1+level), -50*(1-level)]])

@pytest.mark.parametrize('level', [0, 1, 1.5, '90'])
def test_levels_that_are_none(level):
    with pytest.raises(ConfigError, match='level'): interval(np.ones((3, 2)), level)

def test_summary_by_hand(sim):
    "Draws that are the reference times known numbers."
    d,y,_ = sim; rows = np.arange(60)
    m = MRTLRegressor(**QUICK).fit(d.take(rows), y[rows])
    own = [f.detach() for f in m.fitted_.low.factors]
    k = torch.tensor([.1, .1]).double()
    draws = [Draw([own[0]*s, *own[1:]], k) for s in (.5, 1., 2.)]
    out = summarise(m, draws, k, level=.5)
    np.testing.assert_allclose(out.strength_draws, np.array([[.5], [1.], [2.]])*m.factors_.strength.values)
    np.testing.assert_allclose(out.space_lower, out.space, atol=1e-10)
    np.testing.assert_allclose(out.space_upper, out.space, atol=1e-10)
    np.testing.assert_allclose(out.stability, 1); assert (out.space_agree == 1).all() and (out.coef_agree == 1).all()
    np.testing.assert_allclose(out.coef_lower, np.minimum(.75*out.coef, 1.5*out.coef))
    np.testing.assert_allclose(out.coef_upper, np.maximum(.75*out.coef, 1.5*out.coef))
    gone = summarise(m, [*draws[:2], Draw(draws[2].factors, torch.tensor([.1, 1e-4]).double())], k, level=.5)
    np.testing.assert_allclose(gone.match[:, 1], [1, 1, 0], atol=1e-12); np.testing.assert_allclose(gone.match[:, 0], 1)
    np.testing.assert_allclose(gone.space_agree[..., 1], 2/3); assert gone.strength_draws[2, 1] == 0
    dead = summarise(m, draws, torch.tensor([.1, 0.]).double())
    np.testing.assert_allclose(dead.match[:, 1], 0)

def test_swapped_components_leave_the_tensor_alone(sim):
    d,y,_ = sim; rows = np.arange(60)
    m = MRTLRegressor(**QUICK).fit(d.take(rows), y[rows])
    k = torch.ones(2).double()
    own = [f.detach() for f in m.fitted_.low.factors]
    a,b = (summarise(m, [Draw(F, k)]*2, k) for F in (own, [f.flip(1) for f in own]))
    np.testing.assert_allclose(a.space_lower, b.space_lower)
    np.testing.assert_allclose(a.coef_upper, b.coef_upper)
    np.testing.assert_allclose(a.coef_upper, m.coef_, atol=1e-12)

def test_coverage_counts_what_is_there():
    assert coverage([0, 0, 0, 0], [1, 1, 1, 1], [0, 1, 1.01, np.nan]) == pytest.approx(2/3)

# ---- effect

@pytest.mark.parametrize('outputs', [1, 3])
def test_effect_has_no_units(sim, outputs):
    d,y,_ = sim; rows = np.arange(80); y = y[rows] if outputs == 1 else np.stack([y[rows]*s for s in (1, 2, -1)], 1)
    m = MRTLRegressor(**QUICK).fit(d.take(rows), y); e = effect(m, d.take(rows), y)
    big = MRTLRegressor(**QUICK).fit(d.take(rows), 1e5*y)
    torch.testing.assert_close(effect(big, d.take(rows), 1e5*y), e, rtol=1e-4, atol=1e-6)
    total = m.predict(d.take(rows)).reshape(80, -1).std(0, ddof=1)/y.reshape(80, -1).std(0)
    assert (e > .05).any() and e.max() <= 1.5 and e.sum() >= total.mean()-1e-6

# ---- the whole

def run(sim, n=4, kw={}, **more):
    d,y,_ = sim; rows = np.arange(100)
    return block_bootstrap(MRTLRegressor(**QUICK|kw), d.take(rows), y[rows], time_blocks(rows, 10), n, **more)

def test_deterministic_and_prefix_of_a_longer_one(sim):
    a,b,c,other = run(sim, 3),run(sim, 3),run(sim, 5),run(sim, 3, seed=1)
    xr.testing.assert_identical(a, b)
    np.testing.assert_array_equal(a.match, c.match[:3])
    assert not np.allclose(a.match, other.match)
    assert c.attrs == dict(level=.9, draws=5, seed=0, blocks=10, rows=100) and (a.space_lower <= a.space_upper).all()
    assert np.ptp(c.strength_draws.values, 0).min() > 0

def test_holds_what_it_promises(sim, tmp_path):
    out = run(sim, 3); names = set(out.data_vars)
    for v in ('space', 'lead_loading', 'variable_loading', 'strength', 'coef'):
        for s in ('lower', 'upper', 'agree'):
            assert out[f'{v}_{s}'].dims == out[v].dims and np.isfinite(out[f'{v}_{s}']).all()
    assert {'match', 'stability', 'effect', 'bias'} <= names and out.match.dims == ('draw', 'component')
    assert not any(v.startswith('coef') for v in run(sim, 2, coef=False))
    out.to_netcdf(tmp_path/'b.nc'); xr.testing.assert_allclose(xr.load_dataset(tmp_path/'b.nc'), out)

def test_a_fitted_estimator_is_the_reference_and_stays_as_it_is(sim):
    d,y,_ = sim; rows = np.arange(100); m = MRTLRegressor(**QUICK).fit(d.take(rows), y[rows]); before = m.factors_
    out = block_bootstrap(m, d.take(rows), y[rows], time_blocks(rows, 10), 3)
    xr.testing.assert_identical(m.factors_, before)
    xr.testing.assert_allclose(out[list(before)], before)
    xr.testing.assert_allclose(out, run(sim, 3))

def test_land_stays_missing():
    s = simulate_field(80, (4, 8), leads=2, variables=1, rank=1, seed=0); X = s.X.copy(); X[:, :, 0, :3] = np.nan
    d = FieldDesign.from_xarray(X, leads=2, dtype=torch.float64); y = s.y.values[2:]
    out = block_bootstrap(MRTLRegressor(**QUICK|dict(rank=1)), d, y, np.arange(len(d))//8, 3)
    for v in ('space_lower', 'space_upper', 'space_agree'):
        assert np.isnan(out[v][0, :3]).all() and int(out[v].isnull().sum()) == 3
    for v in ('coef_lower', 'coef_agree'): assert np.isnan(out[v][..., 0, :3]).all() and int(out[v].isnull().sum()) == 6

def test_many_outputs_keep_their_names(sim):
    d,y,_ = sim; rows = np.arange(90); rng = np.random.default_rng(0)
    Y = xr.DataArray(y[rows][:, None]*[1, -1, .5]+rng.normal(size=(90, 3))*.2, dims=('time', 'output'),
                     coords=dict(output=['0201', '0202', 'IA']))
    Y[:9, 1] = np.nan
    out = block_bootstrap(MRTLRegressor(**QUICK|dict(rank=1)), d.take(rows), Y, time_blocks(rows, 10), 3)
    assert list(out.output.values) == ['0201', '0202', 'IA'] and out.output_loading_lower.dims == ('output',
            'component') and out.coef_lower.dims[-1] == 'output'

def test_an_output_that_a_draw_leaves_empty_is_told(sim):
    d,y,_ = sim; rows = np.arange(40); Y = np.stack([y[rows], y[rows]], 1); Y[10:, 1] = np.nan
    with pytest.raises(DataError, match=r'draw \d cannot be fitted.*output 1'):
        block_bootstrap(MRTLRegressor(**QUICK), d.take(rows), Y, np.arange(40)//10, 8)

def test_classifier_on_events():
    table,_ = simulate_events(400, players=5, court=(4, 5), defender=(3, 3), rank=1, rate=.4, seed=0)
    ev = EventDesign.from_table(table, dict(player='player', court=('x', 'y')),
                                dict(court=Grid((4, 5))), dict(player=True))
    labels = np.where(table.label, 'shot', 'no')
    out = block_bootstrap(MRTLClassifier(rank=1, schedule=[(4, 5)], max_epochs=3), ev, labels, np.arange(400)//20, 3)
    assert out.player_loading_lower.shape == (5, 1) and out.court_lower.shape == (4, 5,
            1) and out.rows < 400 and np.isfinite(out.coef_upper).all()

@pytest.mark.parametrize('n', [60, 215, 257])
def test_validation_rows_are_never_drawn_and_the_reference_is_the_users_fit(sim, n):
    d,y,_ = sim; kw = dict(rank=1, schedule=[(2, 4), (4, 8)], max_epochs=1, l2=.1)
    part = training_part(MRTLRegressor(**kw), d.take(range(n)), y[:n], np.arange(n)//10)
    assert (part['valid'] is None) == (n < 200) and (n < 200
            or not np.isin(part['valid']['X'].rows, part['design'].rows).any())
    mine = MRTLRegressor(**kw).fit(d.take(range(n)), y[:n])
    out = block_bootstrap(MRTLRegressor(**kw), d.take(range(n)), y[:n], np.arange(n)//10, 2)
    np.testing.assert_allclose(out.space, mine.factors_.space, rtol=1e-5, atol=1e-7)

@pytest.mark.parametrize('form', ['design', 'array', 'dataarray'])
def test_every_form_of_input(form):
    rng = np.random.default_rng(0); X = rng.normal(size=(50, 4, 8)); y = X[:, 1, 2]+.1*rng.normal(size=50)
    kw = QUICK|dict(rank=1)
    as_ = dict(design=lambda v: FieldDesign.from_xarray(xr.DataArray(v, dims=('t', 'y', 'x')), dtype=torch.float64),
               array=lambda v: v, dataarray=lambda v: xr.DataArray(v, dims=('t', 'y', 'x')))[form]
    out = block_bootstrap(MRTLRegressor(**kw), as_(X[:40]), y[:40], np.arange(40)//4, 2, valid=(as_(X[40:]), y[40:]))
    assert out.space_lower.shape == (4, 8, 1)

def test_a_checkpoint_is_left_alone(sim, tmp_path):
    f = tmp_path/'c.mrtl'; f.write_bytes(b'of another run')
    run(sim, 2, dict(checkpoint=f))
    assert f.read_bytes() == b'of another run'

# ---- files

def test_resumes_without_fitting_again(sim, tmp_path, monkeypatch):
    a = run(sim, 3, folder=tmp_path)
    assert [f.name for f in sorted(tmp_path.iterdir())] == [f'draw_{i:04d}.mrtl' for i in (1, 2, 3)]
    (tmp_path/'draw_0002.mrtl').unlink(); fitted = []; real = bs.block_weights
    monkeypatch.setattr(bs, 'block_weights', lambda b, draw, seed=0: (fitted.append(draw), real(b, draw, seed))[1])
    b = run(sim, 4, folder=tmp_path)
    assert fitted[1:] == [2, 4]; np.testing.assert_array_equal(b.match[:3], a.match)
    xr.testing.assert_identical(run(sim, 3, folder=tmp_path), a)

@pytest.mark.parametrize('change', ['rank', 'seed', 'data', 'target', 'blocks', 'weight', 'valid', 'labels'])
def test_draws_of_another_configuration_are_refused(sim, tmp_path, change):
    d,y,_ = sim; rows = np.arange(60)
    base = dict(sample_weight=np.ones(60), valid=(d.take(range(100, 120)), y[100:120]))
    def go(kw={}, X=d, y=y, blocks=time_blocks(rows, 10), **more):
        return block_bootstrap(MRTLRegressor(**QUICK|kw), X.take(rows), y[rows], blocks, 2,
                               folder=tmp_path, **base|more)
    go()
    other = d._like(u=d.u*1.01); named = d._like(); named.labels = dict(variable=['a', 'b'])
    new = dict(rank=dict(kw=dict(rank=1)), seed=dict(seed=1), data=dict(X=other), target=dict(y=y+1e-9),
               blocks=dict(blocks=time_blocks(rows, 20)), weight=dict(sample_weight=np.full(60, 2.)),
               valid=dict(valid=(d.take(range(100, 119)), y[100:119])),
               labels=dict(X=named, valid=(named.take(range(100, 120)), y[100:120])))[change]
    with pytest.raises(ConfigError, match='other data or settings'): go(**new)
    go()

def test_a_damaged_draw_is_told(sim, tmp_path):
    run(sim, 2, folder=tmp_path); f = tmp_path/'draw_0002.mrtl'; f.write_bytes(f.read_bytes()[:-9])
    with pytest.raises(FormatError, match='draw_0002'): run(sim, 2, folder=tmp_path)

# ---- refusals

def test_refusals(sim):
    d,y,_ = sim; rows = np.arange(60); m = MRTLRegressor(**QUICK); X = d.take(rows)
    with pytest.raises(DataError, match='blocks must have one entry'): block_bootstrap(m, X, y[rows], np.arange(59))
    with pytest.raises(DataError, match='y must be'): block_bootstrap(m, X, y[:59], np.arange(60))
    with pytest.raises(DataError, match='sample_weight must have one entry'):
        block_bootstrap(m, X, y[rows], np.arange(60), sample_weight=[1.])
    with pytest.raises(DataError, match='at least 2 blocks'): block_bootstrap(m, X, y[rows], np.zeros(60))
    with pytest.raises(ConfigError, match='n must be'): block_bootstrap(m, X, y[rows], np.arange(60), 0)
    with pytest.raises(ConfigError, match='level'): block_bootstrap(m, X, y[rows], np.arange(60), level=90)
    with pytest.raises(DataError, match='NaN'):
        block_bootstrap(m, X, np.where(rows == 3, np.nan, y[rows]), np.arange(60))
    fitted = MRTLRegressor(**QUICK).fit(X, y[rows])
    with pytest.raises(DataError, match='modes'):
        block_bootstrap(fitted, FieldDesign(torch.ones(60, 4, 8, dtype=torch.float64), Grid((4, 8))),
                        y[rows], np.arange(60))
