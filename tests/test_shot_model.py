"""The shot model: nothing learned from rows held back, baselines against plain formulas, options of one stage."""
from dataclasses import replace
import numpy as np, pandas as pd, pytest
from sklearn.metrics import roc_auc_score
from mrtl.core import ConfigError, DataError
from mrtl.estimators import MRTLClassifier
from mrtl.basketball.model import PAPER, SHOTS, coherence, logistic_baseline, morans_i, one_hot, shot_map_baseline, shot_problem
from mrtl.rivals import best_threshold, class_scores

@pytest.fixture(scope='module')
def table():
    rng = np.random.default_rng(0); n = 3000
    t = pd.DataFrame(dict(game=np.arange(n)//150, possession=np.arange(n)//5, player=rng.integers(1, 13, n),
                          x=rng.uniform(0, 40, n), y=rng.uniform(0, 50, n)))
    for i in range(1, 6):
        t[f'right{i}'],t[f'ahead{i}'] = (np.where(rng.random(n) < .5, rng.uniform(lo, lo+12, n),
                                                  np.nan) for lo in (-6, -2))
    near = t.filter(like='right').isna().values | t.filter(like='ahead').isna().values
    for i in range(1, 6): t.loc[near[:,i-1], [f'right{i}', f'ahead{i}']] = np.nan
    odds = -1.5+2*np.exp(-((t.x-5)**2+(t.y-25)**2)/100)+.3*(t.player-6)/3
    return t.assign(y_true=(rng.random(n) < 1/(1+np.exp(-odds))).astype(int))

def test_players_are_pooled_by_training_rows_alone(table):
    p = shot_problem(table, seed=0, least=10); held = np.concatenate([p.rows['valid'], p.rows['test']])
    odd = table.copy()
    odd.loc[odd.index[held], 'player'] = 99
    odd.loc[odd.index[held], 'y_true'] = np.tile([0, 1], len(held))[:len(held)]
    q = shot_problem(odd, seed=0, least=10)
    assert q.players == p.players and 99 not in q.players and (q.design.idx['player'].numpy()[held] == 0).all()

@pytest.mark.parametrize('what', ['valid', 'test'])
def test_a_model_does_not_know_the_test_rows(table, what):
    p = shot_problem(table, seed=0, least=10); y = p.y.copy(); y[p.rows['test']] = 1-y[p.rows['test']]
    for f in (shot_map_baseline, logistic_baseline): np.testing.assert_array_equal(f(p), f(replace(p, y=y)))
    fit = lambda q: q.fit(MRTLClassifier(**SHOTS|dict(rank=1, max_epochs=2))).predict_proba(p.design)
    np.testing.assert_array_equal(fit(p), fit(replace(p, y=y)))

def test_the_split_gives_every_row_one_part(table):
    p = shot_problem(table, 'possession', seed=3); rows = np.concatenate(list(p.rows.values()))
    assert (sorted(rows) == list(range(len(table))) and .55 < len(p.rows['train'])/len(table) < .65 and not p.leaky
            and shot_problem(table, 'frame').leaky)
    part = {k: set(table.possession.iloc[r]) for k,r in p.rows.items()}
    assert not part['train']&part['test'] and not part['valid']&part['test']

def test_shot_map_by_loops(table):
    p = shot_problem(table, seed=0)
    got = shot_map_baseline(p, widths=(1e-6,))
    tr = p.rows['train']; rate = p.y[tr].mean()
    cell = lambda t: list(zip(t.x.astype(int), t.y.astype(int))); hits,seen = {},{}
    for c,y in zip(cell(table.iloc[tr]), p.y[tr]): hits[c] = hits.get(c, 0)+y; seen[c] = seen.get(c, 0)+1
    np.testing.assert_allclose(got, [(hits.get(c, 0)+.1*rate)/(seen.get(c, 0)+.1) for c in cell(table)], rtol=1e-9)

def test_one_hot_by_loops(table):
    p = shot_problem(table.iloc[:200].assign(y_true=np.tile([0, 1], 100)), 'frame', least=1)
    X = one_hot(p.design).toarray(); at = 0
    for m in p.design.modes:
        for n,bag in enumerate(p.design.idx[m.name].numpy()):
            want = np.zeros(m.size)
            [want.__setitem__(i, want[i]+1) for i in bag if i >= 0]
            np.testing.assert_array_equal(X[n,at:at+m.size], want)
        at += m.size

def test_morans_i_limits():
    i,j = np.indices((6, 7))
    assert morans_i((-1.)**(i+j)) == pytest.approx(-1) and morans_i(i*1.) > .8 and np.isnan(morans_i(np.ones((4, 4))))

def test_threshold_is_the_best_of_all():
    rng = np.random.default_rng(1); p = rng.random(200)
    y = (rng.random(200) < p).astype(int)
    best = max(class_scores(y, p, t)['f1'] for t in p)
    assert class_scores(y, p, best_threshold(y, p))['f1'] == pytest.approx(best) and class_scores(y, p,
            .5)['auc'] == roc_auc_score(y, p)

@pytest.mark.parametrize('full', [dict(lr=-1.), dict(l2='x'), dict(rank=3), dict(max_epochs=0),
                                  dict(batch_size=.5), 7, ['lr']])
def test_options_of_the_full_rank_stage_are_checked(table, full):
    p = shot_problem(table, seed=0)
    with pytest.raises(ConfigError): p.fit(MRTLClassifier(**PAPER|dict(full_options=full, max_epochs=1)))

def test_options_of_the_full_rank_stage_reach_it_and_survive_a_file(table, tmp_path):
    p = shot_problem(table, seed=0)
    m = p.fit(MRTLClassifier(**PAPER|dict(rank=2, full_options=dict(max_epochs=1, lr=1e-3), max_epochs=3, patience=99)))
    assert [l['epochs'] for l in m.levels_] == [1, 1, 1, 3, 3, 3]
    m.save(tmp_path/'m.mrtl'); again = MRTLClassifier.load(tmp_path/'m.mrtl')
    assert again.get_params() == m.get_params() and np.array_equal(again.predict_proba(p.design),
            m.predict_proba(p.design)) and set(coherence(again.factors_)) == {'court', 'defender'}

def test_balanced_weights_leave_the_bias(table):
    p = shot_problem(table, seed=0); o = SHOTS|dict(rank=1, max_epochs=30)
    a,b = (p.fit(MRTLClassifier(**o|dict(class_weight=w))) for w in (None, 'balanced')); te = p.rows['test']
    q = [m.predict_proba(p.design.take(te))[:,1] for m in (a, b)]
    assert abs(q[0].mean()-p.y[te].mean()) < .05 and abs(q[1].mean()
            -q[0].mean()) < .03 and abs(float(a.factors_.bias[0]-b.factors_.bias[0])) < .5
    assert set(p.scores(np.full(len(p.y), .2))) == {'valid', 'test'}
