"Cutting rows: nothing leaks, scikit-learn's conventions hold, and the rows are those of earlier runs."
import hashlib
import numpy as np, pandas as pd, pytest, sklearn, torch, xarray as xr
from sklearn.base import clone
from sklearn.linear_model import Ridge
from sklearn.model_selection import GridSearchCV, GroupKFold, check_cv, cross_val_score
from mrtl.core import ConfigError, DataError
from mrtl.events import EventDesign
from mrtl.designs import FieldDesign, Mode
from mrtl.estimators import MRTLRegressor
from mrtl.grids import Grid
from mrtl.splits import BlockSplit, block_folds, block_split, cut_folds, split_blocks, split_groups, time_blocks, times_of, validation_rows

HOLES = np.r_[6:74, 111:148, 222:259]
GAMES = np.repeat(np.arange(40), np.arange(40)%7+3)

def design(n, leads=None, rows=None, window=None):
    return FieldDesign(torch.zeros(n, 1, 2, 2), Grid((2,2)), ('variable',), leads=leads, rows=rows, window=window)

def looks_at(d, rows): return {int(t)+k for t in d.rows.numpy()[rows] for k in range(-(d.leads or 0), d.window or 1)}

# ---- nothing leaks

DESIGNS = [(300, None, None, None), (300, 6, None, None), (300, 1, None, 3), (300, None, None, 4),
           (270, 6, HOLES, 3), (270, 3, HOLES[::-1].copy(), None)]

@pytest.mark.parametrize('n,leads,rows,window', DESIGNS)
@pytest.mark.parametrize('k', [2, 5])
def test_folds_share_no_time(n, leads, rows, window, k):
    d = design(n, leads, rows, window); seen = np.zeros(len(d), int); gap = (leads or 0)+(window or 1)-1
    for train,held in BlockSplit(k).split(d):
        assert not looks_at(d, train) & looks_at(d, held); seen[held] += 1
        t = d.rows.numpy(); free = np.abs(np.subtract.outer(t, t[held])).min(1) > gap
        np.testing.assert_array_equal(train, np.flatnonzero(free))  # and no row is left out without need
        inside = t[(t > t[held].min())&(t < t[held].max())]; assert np.isin(inside, t[held]).all()  # contiguous in time
    assert (seen == 1).all()

@pytest.mark.parametrize('n,leads,rows,window', DESIGNS)
def test_evidence_folds_share_no_time(n, leads, rows, window):
    d = design(n, leads, rows, window)
    for train,held in cut_folds(d, window or 1, None): assert not looks_at(d, train) & looks_at(d, held)

@pytest.mark.parametrize('n,leads,rows,window', DESIGNS)
@pytest.mark.parametrize('grouped', [False, True])
def test_validation_rows_share_no_time(n, leads, rows, window, grouped):
    d = design(n, leads, rows, window); groups = d.rows.numpy()//20 if grouped else None
    for seed in range(5):
        train,valid = validation_rows(d, .2, groups, seed)
        assert not looks_at(d, train) & looks_at(d, valid) and train.any() and valid.any()
        if grouped: assert not set(groups[train]) & set(groups[valid])

@pytest.mark.parametrize('leads,window', [(None, None), (4, None), (4, 3)])
def test_groups_stay_whole_and_keep_the_gap(leads, window):
    d = design(200, leads, window=window); groups = d.rows.numpy()//10%9
    for train,held in BlockSplit(3).split(d, groups=groups):
        assert not set(groups[train]) & set(groups[held]) and not looks_at(d, train) & looks_at(d, held)

def test_too_small_a_gap_leaks():
    d = design(100, 6, window=3)
    assert any(looks_at(d, a) & looks_at(d, b) for a,b in BlockSplit(gap=7).split(d)) and not any(looks_at(d, a)
            & looks_at(d, b) for a,b in BlockSplit(gap=8).split(d))

# ---- what can be split

def test_arrays_tables_and_events_go_by_row():
    x = np.zeros((20, 3)); events = EventDesign(dict(who=np.zeros(20, int)), [Mode('who', 1, indexed=True)])
    for X in x, x.tolist(), pd.DataFrame(x), xr.DataArray(x), events:
        assert [h.tolist() for _,h in BlockSplit(4).split(X)] == np.arange(20).reshape(4, 5).tolist()
        assert [len(a) for a,_ in BlockSplit(4, gap=2).split(X)] == [13, 11, 11, 13]

def test_dates_are_put_in_order():
    dates = pd.date_range('2001-01', periods=20, freq='MS')
    order = np.random.default_rng(0).permutation(20)
    x = np.zeros((20, 2))
    for X in xr.DataArray(x, dims=('time','x'), coords=dict(time=dates[order])), pd.DataFrame(x, index=dates[order]):
        assert [sorted(order[h]) for _,h in BlockSplit(4).split(X)] == np.arange(20).reshape(4, 5).tolist()

def test_rows_of_one_time_keep_their_order():
    # Python's sort is stable
    t = np.random.default_rng(0).integers(0, 7, 1000); order = sorted(range(1000), key=t.__getitem__)
    for k,(_,held) in enumerate(block_folds(t, 0, 4)): assert held.tolist() == sorted(order[250*k:250*k+250])
    assert type(times_of(design(4))) is np.ndarray

def test_groups_until_the_share_is_reached():
    groups = np.repeat(np.arange(10), 10)
    assert [int(split_groups(groups, share).sum()) for share in (.01, .1, .11, .95, 1.)] == [10, 10, 20, 90,
            90] and split_groups(groups).sum() == 20
    assert split_groups([3, 3, 3, 8, 8]).sum() in (2, 3) and split_blocks(100, .2, 1).sum() == 20

def test_nothing_left_for_a_set():
    with pytest.raises(DataError, match='at least two groups to set one aside; got 1'): split_groups([4, 4, 4])
    with pytest.raises(DataError, match='20 times in blocks of 10 with gaps of 0 leave no row for (train|valid|test):'):
        block_split(20, 10, 0)

def test_too_few_rows_for_folds(): assert cut_folds(design(1), 1, None) == cut_folds(design(2), 1, None) == []

@pytest.mark.parametrize('seed', range(6))
def test_no_row_behind_a_border(seed):
    s = block_split(400, 3, 5, (.4, .3, .3), seed) if seed else block_split(400); b,gap = s['block'],5 if seed else 6
    clean = [i for i in range(400) if all(b[j] == b[i] for j in range(i-gap, i) if j >= 0)]
    assert sorted(np.concatenate([s[k] for k in ('train','valid','test')])) == clean and s['lost'] == 400-len(clean)
    for k,name in enumerate(('train','valid','test')): assert (b[s[name]] == k).all()

@pytest.mark.parametrize('seed', [True, -1, 1.5, '0'])
def test_seeds_refused(seed):
    with pytest.raises(ConfigError, match='seed of a split'): block_split(100, 10, 0, seed=seed)

def test_smallest_split():
    assert sorted(np.concatenate([block_split(10, 1, 0)[k] for k in ('train','valid','test')])) == list(range(10))
    for kw in dict(block=0), dict(gap=-1), dict(fractions=(.5,.5)), dict(fractions=(.5,.5,.5)), dict(fractions=(1.2,-.1,-.1)), dict(fractions=(1,0,0)):
        with pytest.raises(ConfigError, match='a split needs'): block_split(100, **kw)

def test_blocks_by_hand():
    for times,want in [((0,1,4,5,6,7,8), (0,0,1,1,1,1,1)),  # five in a row fill a block, two before them do not
                       ((0,2,3,4,5), (0,0,0,0,0)), # four are short of one, so the block goes on across the hole
                       ((0,2,3,4,5,7), (0,0,0,0,0,1)),
                       (range(12), [0]*6+[1]*6), (range(13), [0]*5+[1]*4+[2]*4)]:
        np.testing.assert_array_equal(time_blocks(np.array(times), 5, hole=3), want)

def test_no_block_across_a_hole():
    rng = np.random.default_rng(0)
    for _ in range(50):
        t = rng.permutation(np.cumsum(rng.choice([1, 1, 1, 2, 3, 4, 9], 60)))
        b = time_blocks(t, 6, hole=3); order = np.argsort(t)
        s,of = t[order],b[order]
        step = np.diff(of)
        # a short stretch is not cut
        assert np.isin(step, (0,1)).all() and of[0] == 0 and (step[np.diff(s) > 3]
                == 1).all() and max(np.ptp(s[of==k]) for k in set(of)) <= 9

@pytest.mark.parametrize('t', [np.zeros(0, int), np.zeros((3,2), int), np.zeros(3)])
def test_times_refused(t):
    with pytest.raises(DataError, match='one time for each row'): time_blocks(t)

def test_lengths_refused():
    for kw in dict(length=0), dict(hole=2.5), dict(hole=0):
        with pytest.raises(ConfigError): time_blocks(np.arange(9), **kw)

# ---- scikit-learn

def test_conventions():
    cv = BlockSplit(3, gap=2); again = clone(cv)
    assert cv.get_params() == again.get_params() == dict(n_splits=3, gap=2) and again is not cv
    assert cv.get_n_splits() == cv.get_n_splits(np.zeros(9), None, None) == 3 and BlockSplit().get_n_splits() == 5
    assert repr(cv) == 'BlockSplit(gap=2, n_splits=3)' and repr(BlockSplit()) == 'BlockSplit()'
    assert check_cv(cv) is cv and cv.set_params(gap='auto').gap == 'auto'

def test_scores_and_search():
    rng = np.random.default_rng(0); X,y = rng.normal(size=(80, 3)),rng.normal(size=80); cv = BlockSplit(4, gap=3)
    by_hand = [Ridge().fit(X[a], y[a]).score(X[b], y[b]) for a,b in cv.split(X)]
    np.testing.assert_allclose(cross_val_score(Ridge(), X, y, cv=cv), by_hand)
    assert GridSearchCV(Ridge(), dict(alpha=[.1, 10.]), cv=cv).fit(X, y).n_splits_ == 4
    fields = rng.normal(size=(40, 1, 3, 4)); z = fields[:,0,1,1]
    assert np.isfinite(cross_val_score(MRTLRegressor(rank=1, max_epochs=2), fields, z, cv=BlockSplit(2))).all()

def test_groups_come_through():
    rng = np.random.default_rng(0)
    X,y,groups = rng.normal(size=(60, 3)),rng.normal(size=60),np.repeat(np.arange(6), 10)
    want = cross_val_score(Ridge(), X, y, cv=GroupKFold(3), groups=groups)
    np.testing.assert_array_equal(cross_val_score(Ridge(), X, y, cv=BlockSplit(3), groups=groups), want)
    with sklearn.config_context(enable_metadata_routing=True):
        np.testing.assert_array_equal(cross_val_score(Ridge(), X, y, cv=BlockSplit(3), params=dict(groups=groups)),
                                      want)

@pytest.mark.parametrize('kw,match', [(dict(n_splits=1), 'at least 2'), (dict(n_splits=2.5), 'n_splits'),
                                      (dict(gap=-1), "gap must be 'auto'"),
                                      (dict(gap='leads'), "gap must be 'auto'"),
                                      (dict(gap=True), "gap must be 'auto'")])
def test_options_refused(kw, match):
    with pytest.raises(ConfigError, match=match): list(BlockSplit(**kw).split(np.zeros(20)))

@pytest.mark.parametrize('kw,groups,match', [(dict(n_splits=21), None, '20 rows cannot be cut into 21 folds'),
                                             (dict(), [0, 1]*10, '2 groups cannot be cut into 5 folds'),
                                             (dict(), [0, 1], 'one group for each of 20 rows; got 2'),
    (dict(gap=20), None, 'leaves no row to train on')])
def test_rows_that_cannot_be_split(kw, groups, match):
    with pytest.raises(DataError, match=match): list(BlockSplit(**kw).split(np.zeros(20), groups=groups))

# ---- the rows of earlier runs

def digest(*arrays):
    h = hashlib.sha256()
    for a in arrays: h.update(np.asarray(a).astype('<i8').tobytes()); h.update(b'|')
    return h.hexdigest()[:16]

def test_same_rows_as_before():
    assert digest(*(split_blocks(n, share, seed=seed) for n in (200, 1000) for share in (.1,.2)
                    for seed in range(3))) == '6f6c89bf24a1bda4'
    assert digest(*(split_groups(GAMES, share, seed) for share in (.1,.2) for seed in range(3))) == '8b15fcaa5f41b420'
    assert digest(*((~rows.train&~rows.valid) for leads in (None, 1, 6) for s in range(3)
                    for rows in [validation_rows(design(300, leads), seed=s)])) == 'e0b5ba266bcfcfc4'
    assert digest(*(block_split(n, b, g, seed=s)[k] for n,b,g in ((480,37,6),(300,12,8),(1249,37,6))
                    for s in range(3) for k in ('train','valid','test','block'))) == 'fec3401be6397646'

def test_same_folds_as_before():
    times = np.arange(50),HOLES,HOLES[::-1],np.arange(3),np.arange(40)//2
    assert digest(*(a for t in times for g in (0, 3, 20) for k in (2, 5) for f in block_folds(t, g, k)
                    for a in f)) == '5b3a576be905d050'
    designs = design(300),design(300, 6),design(260, 6, HOLES)
    assert digest(*(a for d in designs for w in (1, 3)
                    for g in (None, np.arange(len(d))//20%7, np.zeros(len(d), int)) for f in cut_folds(d, w, g)
                    for a in f)) == '564bda2ec54443fb'

def test_same_blocks_as_before():
    assert digest(*(time_blocks(t, k)
                    for t in (np.arange(48), HOLES, np.arange('1950-11', '1980-02', dtype='datetime64[M]')[::5])
                    for k in (1, 12, 24, 37))) == '55ff9fa8d2435de4'

def test_blocks_of_days():
    days = np.arange('2001-01-01', '2001-03-02', dtype='datetime64[D]')
    np.testing.assert_array_equal(time_blocks(days, 20, unit='D'), np.repeat([0,1,2], 20))
    np.testing.assert_array_equal(time_blocks(days[np.r_[0:10,14:24]], 20, unit='D', hole=3), np.repeat([0,1], 10))
    np.testing.assert_array_equal(time_blocks(days[np.r_[0:10,14:24]], 20, unit='D', hole=5), np.zeros(20))
