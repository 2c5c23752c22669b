"""Sums of terms under attack: each case once gave a wrong number without a word, or an error that said nothing."""
import numpy as np, pandas as pd, pytest
from mrtl.basketball.rivals import INPUTS
from mrtl.basketball.termcourt import court_probability
from mrtl.basketball.terms import clock_terms, term_design
from mrtl.core import ConfigError, DataError
from mrtl.estimators import MRTLClassifier, MRTLRegressor
from mrtl.events import EventDesign
from mrtl.nodes import Nodes
from mrtl.problems import Problem
from mrtl.runs import open_run, read_run, run_problem
from mrtl.samples import Samples
from mrtl.terms.canonical import centre, components, frequencies, standard
from mrtl.terms.learn import Rows, folds_of, joined, ladders, model_at
from mrtl.terms.laplace import laplace
from mrtl.terms.search import WeightSearch
from mrtl.terms.spec import Term, as_terms

N = 240
MODES = dict(side='side', player='player', court=('y', 'x'), gap='gap')
NODES = dict(court=Nodes(np.linspace(0, 8, 5), np.linspace(0, 10, 5), names=('x', 'y')), gap=Nodes(np.linspace(0, 5, 5)))
LABELS = dict(side=['l', 'r'], player=list(range(5)))
W = dict(smooth=.05, ridge=1.)

@pytest.fixture(scope='module')
def data():
    rng = np.random.default_rng(0)
    t = pd.DataFrame(dict(side=rng.choice(['l', 'r'], N), player=rng.integers(0, 5, N), x=rng.uniform(0, 8, N), y=rng.uniform(0, 10, N), gap=rng.uniform(0, 5, N)))
    y = (np.where(t.side == 'l', 1, -1)*np.sin(t.x)+.1*rng.normal(size=N)).values
    return t,EventDesign.from_table(t, MODES, NODES, LABELS),y

def test_a_mode_shorter_than_the_rank(data, tmp_path):
    _,d,y = data; terms = [Term('side', ridge=1.), Term(('side', 'court'), **W), Term(('side', 'player'), ridge=1.)]
    m = MRTLRegressor(rank=8, terms=terms, init='random').fit(d, y); assert m.score(d, y) > .8
    assert m.factors_['side:court'].sizes['component'] == 2 and m.coef_std_['side:court'].shape == (2, 5, 5)
    z = sum(m.fitted_.contributions(d).values())+float(m.factors_['side'].bias[0]); np.testing.assert_allclose(m.predict(d), z[:,0], atol=1e-9)
    m.save(tmp_path/'m.mrtl'); assert np.array_equal(MRTLRegressor.load(tmp_path/'m.mrtl').predict(d), m.predict(d))

def test_a_weight_of_four_is_four_rows(data):
    _,d,y = data; terms = [Term('side', ridge=1.), Term('court', **W)]; four = np.repeat(np.arange(N), 4)
    a,b = MRTLRegressor(terms=terms).fit(d, y, sample_weight=np.full(N, 4.)),MRTLRegressor(terms=terms).fit(d.take(four), y[four])
    for u,v in zip(a.predict(d, return_std=True), b.predict(d, return_std=True)): np.testing.assert_allclose(u, v, rtol=.02, atol=1e-6)
    np.testing.assert_allclose(a.coef_std_['side'], b.coef_std_['side'], rtol=1e-6)

def test_folds_of_one_group_and_of_few_rows(data):
    _,d,y = data; s = Samples(d, y[:,None])
    assert len(folds_of(s, None, 0, np.zeros(N))) == 5
    for n in (2, 3, 7, 19):
        for seed in range(8): assert len(folds_of(s.take(np.arange(n)), None, seed, None)) == min(n, 5)
    pairs = folds_of(s, None, 0, np.arange(N)//40); assert all(len(a)+len(b) == N and len(b)%40 == 0 for a,b in pairs)

def test_other_labels_are_refused(data):
    t,d,y = data; m = MRTLRegressor(terms=[Term('side', ridge=1.)]).fit(d, y)
    swapped = EventDesign.from_table(t, MODES, NODES, LABELS | dict(side=['r', 'l']))
    with pytest.raises(DataError, match='other labels'): m.predict(swapped)
    assert np.array_equal(m.predict(EventDesign.from_table(t, MODES, like=d)), m.predict(d))

def test_groups_count_after_a_refit(data):
    _,d,_ = data; g = np.arange(N)//20; y = np.random.default_rng(0).normal(size=12)[g]; half = np.arange(N) < 160
    fit = lambda **kw: MRTLRegressor(terms=[Term('side', ridge=1.), Term('player', ridge=1.)], **kw).fit(d.take(half), y[half], valid=(d.take(~half), y[~half]), groups=g[half].astype(str))
    assert fit().fitted_.facts['effect'] > 2 and fit(refit=True).fitted_.facts['effect'] > 1.5
    both = joined(Samples(d.take(half), y[half,None], groups=g[half]), Samples(d.take(~half), y[~half,None])); assert len(np.unique(both.groups)) == 8+80

def test_rows_without_a_target_do_not_stop_a_refit(data):
    _,d,y = data; y = y.copy(); y[100:110] = np.nan
    p = Problem(d, y, dict(train=np.arange(100), valid=np.arange(110, 180), test=np.arange(180, N)), groups=np.arange(N)//20); m = p.fit(p.estimator(terms=[Term('side', ridge=1.)]))
    known = np.isfinite(y); np.testing.assert_allclose(p.refit(m).predict(d), MRTLRegressor(terms=[Term('side', ridge=1.)]).fit(d.take(known), y[known]).predict(d))

def test_a_clock_that_is_not_given_adds_nothing():
    rng = np.random.default_rng(0); n = 900; t = pd.DataFrame({k: rng.uniform(0, 5, n) for k in INPUTS['clocks']} | dict(player=rng.choice([0, 1], n), shot_clock=rng.uniform(0, 24, n)))
    t.loc[::3,'shot_clock'] = np.nan; y = (rng.random(n) < np.where(t.shot_clock.isna(), .8, .2)).astype(int)
    m = MRTLClassifier(terms=[Term('player', ridge=2.), *clock_terms()]).fit(term_design(t, [0, 1], 'clocks'), y); odds = lambda **kw: np.log(1/(1/court_probability(m, 1, inputs='clocks', **kw)-1)).mean()
    off = float(m.coef_['no_shot_clock'].sel(no_shot_clock='off')); assert odds(shot_clock=np.nan)-odds() == pytest.approx(off, abs=1e-6) and off > .1

def test_one_ridge_for_a_term_in_full(data):
    _,d,y = data
    with pytest.raises(ConfigError, match='one ridge'): MRTLRegressor(terms=[Term(('side', 'court'), full=True, smooth=.1, ridge=dict(court=7.))]).fit(d, y)
    m = MRTLRegressor(terms=[Term(('side', 'player'), full=True)]).fit(d, y); assert MRTLRegressor(terms=m.terms_).fit(d, y).terms_ == m.terms_

@pytest.mark.parametrize('terms', [[Term(('side', 'player'), full=True, ridge=1.)], [Term('side', ridge=1.)]], ids=['full', 'one list'])
def test_a_run_of_a_sum_without_maps_has_a_page(data, tmp_path, terms):
    _,d,y = data; open_run(tmp_path, dict(command='attack'), False, False)
    p = Problem(d, y, dict(train=np.arange(100), valid=np.arange(100, 180), test=np.arange(180, N))); run_problem(tmp_path, p, dict(terms=terms, init='random'))
    assert (tmp_path/'report.html').exists() and read_run(tmp_path).metrics['test']['r2'] < 1
