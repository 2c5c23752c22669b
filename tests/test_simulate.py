"Simulated truths: the target is what the formula says, fields have the covariance promised, one seed is one data set."
import itertools

import numpy as np
import pytest
import xarray as xr

from mrtl.core import ConfigError
from mrtl.grids import Grid
from mrtl.demo import PLANTED
from mrtl.simulate import overlapping, planted_factors, random_fields, simulate_events, simulate_field, spread_points

CASES = [dict(n=40, shape=(4, 8)), dict(n=30, shape=(5, 7), leads=1, variables=1, rank=1),
         dict(n=30, shape=(6, 6), leads=4, variables=2, rank=2),
         dict(n=30, shape=(8, 16), leads=3, variables=5, rank=3, rho=0., cross=0.),
         dict(n=30, shape=(4, 8), rank=5), dict(n=30, shape=(4, 8), r2=1.)]


@pytest.fixture(scope='module')
def ds(): return simulate_field(seed=0)


def share_of(ds):
    return Grid(ds.X.shape[2:], (-20, 60), (180, 360), ('lat', 'lon'), sphere=True).share.numpy()


def cosines(B, w=None):
    "Cosines between columns, pair by pair."
    w = np.ones(len(B)) if w is None else w
    C = B.T@(w[:, None]*B)
    return (C/np.sqrt(np.outer(np.diag(C), np.diag(C))))[np.triu_indices(B.shape[1], 1)]


# fields ---------------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize('kw', CASES)
def test_signal_is_the_formula_month_by_month(kw):
    ds = simulate_field(seed=3, **kw)
    L, share = ds.sizes['lead'], share_of(ds)
    X, beta = ds.X.values.astype(float), ds.beta.values
    for t in (L, L+7, len(X)-1):
        want = sum((share*beta[l-1, v]*X[t-l, v]).sum() for l, v in itertools.product(range(1, L+1), range(X.shape[1])))
        assert float(ds.signal[t]) == pytest.approx(want, abs=1e-5)
    if kw.get('r2') == 1: np.testing.assert_array_equal(ds.y, ds.signal)


@pytest.mark.parametrize('kw', CASES)
def test_only_months_with_all_leads_have_a_target(kw):
    ds = simulate_field(seed=1, **kw)
    L = ds.sizes['lead']
    assert ds.sizes['time'] == kw['n']+L and ds.X.dtype == np.float32 and np.isfinite(ds.X).all()
    for name in ('y', 'signal'):
        assert ds[name][:L].isnull().all() and ds[name][L:].notnull().all()
    assert (ds.time.diff('time') > np.timedelta64(27, 'D')).all() and (ds.time.dt.day == 1).all()


@pytest.mark.parametrize('kw', CASES)
def test_truth_is_in_the_form_of_factors(kw):
    "Unit mean square in every column (cells weighted by area), strengths descend, beta is their product."
    ds = simulate_field(seed=2, **kw)
    share = share_of(ds)
    if ds.sizes['component'] <= ds.sizes['variable']:
        np.testing.assert_allclose((ds.lead_loading**2).mean('lead'), 1, rtol=1e-10)
        np.testing.assert_allclose((ds.variable_loading**2).mean('variable'), 1, rtol=1e-10)
        np.testing.assert_allclose((share[..., None]*ds.space**2).sum(('lat', 'lon')), 1, rtol=1e-10)
    assert (ds.strength > 0).all() and (np.diff(ds.strength) <= 0).all()
    product = (ds.lead_loading*ds.variable_loading*ds.space*ds.strength).sum('component').transpose('lead',
            'variable', 'lat', 'lon')
    np.testing.assert_allclose(ds.beta, product, atol=1e-10)


def test_components_share_the_variance_equally(ds):
    share, L = share_of(ds), ds.sizes['lead']
    P = np.einsum('tvyx,yxk,vk->tk', ds.X.values.astype(float), share[..., None]*ds.space.values,
                  ds.variable_loading.values)
    s = sum(ds.lead_loading.values[l-1]*P[L-l:len(P)-l] for l in range(1, L+1))*ds.strength.values
    np.testing.assert_allclose(s.std(0), s[:, 0].std(), rtol=1e-4)
    np.testing.assert_allclose(s.sum(1), ds.signal[L:], atol=1e-4)
    assert float(ds.signal.std()) == pytest.approx(1, rel=1e-4)


@pytest.mark.parametrize('r2', [.1, .5, .7, .95])
def test_noise_has_the_size_promised(r2):
    values = []
    for seed in range(8):
        ds = simulate_field(500, (4, 8), seed=seed, r2=r2)
        e = (ds.y-ds.signal)[ds.attrs['leads']:]
        assert ds.attrs['noise_sd'] == pytest.approx(np.sqrt((1-r2)/r2))
        assert float(e.std()) == pytest.approx(ds.attrs['noise_sd'],
                                               rel=.12) and abs(float(e.mean())) < 4*ds.attrs['noise_sd']/500**.5
        values.append(float(ds.signal.var()/ds.y.var()))
    assert np.mean(values) == pytest.approx(r2, abs=.04)


def test_default_data_are_what_the_page_says(ds):
    "Rank 3, 32 x 64, 1,000 rows, overlap of .3 or more in every mode, correlation 1/e an eighth of the side away."
    assert ds.X.shape == (1006, 3, 32, 64) and ds.sizes['component'] == 3 and int(ds.y.notnull().sum()) == 1000
    flat = ds.space.values.reshape(-1, 3)
    for c in (cosines(ds.lead_loading.values), cosines(ds.variable_loading.values),
              cosines(flat, share_of(ds).ravel())):
        assert (c > .3).all() and (c < .6).all()
    X = ds.X.values
    assert (X[:, :, 4:]*X[:, :, :-4]).mean() > .33 and (X[..., 8:]*X[..., :-8]).mean() > .33
    r2 = 1-float(((ds.y-ds.signal)**2).sum()/((ds.y-ds.y.mean())**2).sum())
    assert r2 == pytest.approx(.7, abs=.05)


@pytest.mark.parametrize('kw', [{}, PLANTED], ids=['default', 'demo'])
@pytest.mark.parametrize('seed', range(10))
def test_no_mode_has_components_that_are_nearly_one(seed, kw):
    g = Grid((32, 64), (-20, 60), (180, 360), ('lat', 'lon'), sphere=True)
    # the demo's maps overlap enough when cells count alike, too
    f = planted_factors(g, seed=seed, **kw); plain = [cosines(f['space'])] if kw else []
    for c in (cosines(f['lead']), cosines(f['variable']), cosines(f['space'], g.share.numpy().ravel()), *plain):
        assert (c >= .3).all() and (c <= .6).all()


@pytest.mark.parametrize('shape', [(8, 16), (16, 32), (40, 90)])
def test_one_seed_is_one_truth_at_every_shape(shape):
    for seed in range(3):
        fine, coarse = (planted_factors(Grid(s, (-20, 60), (180, 360), ('lat', 'lon'), sphere=True), seed=seed)
                        for s in ((32, 64), shape))
        for k in ('lead', 'variable'): np.testing.assert_array_equal(fine[k], coarse[k])
        y, x = ((np.arange(n)+.5)/n for n in shape)
        near = fine['space'].reshape(32, 64, 3)[(y*32).astype(int)][:, (x*64).astype(int)].reshape(-1, 3)
        same = [np.corrcoef(near[:, k], coarse['space'][:, k])[0, 1] for k in range(3)]
        assert min(same) > .9


def test_one_seed_is_one_data_set():
    a, b, c = (simulate_field(20, (4, 8), seed=s) for s in (5, 5, 6))
    assert a.identical(b)
    for name in ('X', 'y', 'space', 'lead_loading'): assert not np.array_equal(a[name], c[name])
    np.random.seed(0); state = np.random.get_state()[1].copy()
    simulate_field(20, (4, 8)); simulate_events(20)
    np.testing.assert_array_equal(np.random.get_state()[1], state)


def test_survives_a_file(tmp_path):
    ds = simulate_field(20, (4, 8), seed=5)
    ds.to_netcdf(tmp_path/'truth.nc')
    with xr.open_dataset(tmp_path/'truth.nc') as back: assert back.identical(ds)


@pytest.mark.parametrize('shape,length', [((8, 16), .25), ((16, 8), .25), ((12, 12), .5), ((32, 64), .125)])
def test_fields_have_the_covariance_promised(shape, length):
    "The sample covariance of one corner cell with every cell, against exp(-d), and the same everywhere."
    f = random_fields(4000, Grid(shape), length, np.random.default_rng(0))
    h, w = shape
    y, x = np.mgrid[:h, :w]
    for i, j in ((0, 0), (h-1, w-1), (h//2, w//3)):
        want = np.exp(-np.hypot((y-i)/(length*h), (x-j)/(length*w)))
        seen = (f*f[:, i, j][:, None, None]).mean(0)
        assert np.abs(seen-want).max() < 5.5/4000**.5
    assert abs(f.mean()) < .05 and np.abs(f.var(0)-1).max() < .13


def test_months_persist_and_variables_go_together():
    X = simulate_field(1500, (8, 8), rho=.6, cross=.4, seed=0).X.values
    assert (X[1:]*X[:-1]).mean() == pytest.approx(.6, abs=.03) and (X[2:]*X[:-2]).mean() == pytest.approx(.36, abs=.03)
    assert (X[:, 0]*X[:, 2]).mean() == pytest.approx(.4, abs=.04) and X.var() == pytest.approx(1, abs=.04)


@pytest.mark.parametrize('size,rank,cosine', [(3, 3, .3), (6, 2, 0.), (50, 4, .6), (5, 1, .3)])
def test_overlap_is_exact_with_weights_too(size, rank, cosine):
    rng = np.random.default_rng(size)
    B, w = rng.normal(size=(size, rank)), rng.dirichlet(np.ones(size))
    for share in (None, w):
        C = overlapping(B, cosine, share)
        v = np.full(size, 1/size) if share is None else share
        np.testing.assert_allclose(C.T@(v[:, None]*C), cosine+(1-cosine)*np.eye(rank), atol=1e-9)


def test_points_keep_their_distance():
    for seed in range(5):
        p = spread_points(6, np.random.default_rng(seed))
        d = np.linalg.norm((p[:, None]-p)*[1, 2], axis=-1)[np.triu_indices(6, 1)]
        assert p.shape == (6, 2) and (p > .1).all() and (p < .9).all() and d.min() > .3


@pytest.mark.parametrize('r2', [0, -.1, 1.01, float('nan')])
def test_refused(r2):
    with pytest.raises(ConfigError, match='r2 must'): simulate_field(20, (4, 8), r2=r2)


# events ---------------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize('court,defender,rank', [((40, 50), (12, 12), 3), ((8, 10), (6, 6), 1), ((5, 5), (3, 4), 2)])
def test_log_odds_are_the_formula_event_by_event(court, defender, rank):
    df, truth = simulate_events(300, players=7, court=court, defender=defender, rank=rank, seed=4)
    A, B, C, s = (truth[k].values for k in ('player_loading', 'court', 'defender', 'strength'))
    for i in range(300):
        e = df.iloc[i]
        bag = sum((C[int(e[f'y{d}']), int(e[f'x{d}'])] for d in range(1, 6) if np.isfinite(e[f'x{d}'])), np.zeros(rank))
        want = truth.attrs['bias']+(s*A[int(e.player)]*B[int(e.y), int(e.x)]*bag).sum()
        assert float(truth.log_odds[i]) == pytest.approx(want, abs=1e-9)


def test_events_look_right():
    df, truth = simulate_events(20_000, seed=2)
    assert list(df) == ['player', 'x', 'y', *[f'{c}{i}' for i in range(1, 6) for c in 'xy'], 'label']
    assert df.x.between(0, 50, inclusive='left').all() and df.y.between(0, 40,
            inclusive='left').all() and set(df.player) == set(range(40))
    xs, ys = df[[f'x{i}' for i in range(1, 6)]], df[[f'y{i}' for i in range(1, 6)]]
    np.testing.assert_array_equal(xs.isna(), ys.isna())
    assert not (xs.isna().values[:, :-1] & xs.notna().values[:, 1:]).any()
    assert all((v[np.isfinite(v)] >= 0).all() and (v[np.isfinite(v)] < 12).all() for v in (xs.values, ys.values))
    p = 1/(1+np.exp(-truth.log_odds))
    assert float(p.mean()) == pytest.approx(.125,
                                            abs=1e-6) and float(truth.log_odds.std()) == pytest.approx(1.5, rel=1e-6)
    assert abs(df.label.mean()-.125) < 4*np.sqrt(.125*.875/20_000)
    high = p.values > np.quantile(p, .8)
    assert df.label[high].mean() == pytest.approx(float(p[high].mean()), abs=4*np.sqrt(.25/high.sum()))
    alone = xs.isna().all(axis=1).values
    assert alone.any()
    np.testing.assert_allclose(truth.log_odds[alone], truth.attrs['bias'], atol=1e-12)


@pytest.mark.parametrize('rate', [.02, .125, .6])
def test_rate_is_what_was_asked_for(rate):
    _, truth = simulate_events(500, rate=rate)
    assert float((1/(1+np.exp(-truth.log_odds))).mean()) == pytest.approx(rate, abs=1e-6)


def test_one_seed_is_one_table():
    (a, ta), (b, tb), (c, _) = (simulate_events(50, seed=s) for s in (1, 1, 2))
    assert a.equals(b) and ta.identical(tb) and not a.equals(c)
