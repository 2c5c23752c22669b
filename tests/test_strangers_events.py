"""What readers from outside stumbled over with `mrtl events`: a column in two roles, ids that repeat, places off
the map, marks of missing values, covariates, and which class is up."""
import itertools, json, warnings
import numpy as np, pandas as pd, pytest, xarray as xr
from types import SimpleNamespace
from scipy.special import expit
from mrtl.cli import main, parse
from mrtl.core import ConfigError, DataError
from mrtl.covariates import Covariates
from mrtl.estimators import MRTLClassifier
from mrtl.events import EventDesign
from mrtl.glm import class_block
from mrtl.grids import Grid
from mrtl.event_tables import modes_of
from mrtl.own_events import event_options, names_of, own_events
from mrtl.termmaps import x_across
from mrtl.terms.spec import Term
from mrtl.problems import Problem
from mrtl.runfiles import read_covariates, read_predictions

N = 700
COLUMNS = ('passer','gear','score','game','event','x_m','y_m','opp1_dx','opp1_dy','opp2_dx','opp2_dy','depth')

def passes(n=N, seed=0):
    rng = np.random.default_rng(seed); game = np.arange(n)//25
    t = pd.DataFrame(dict(passer=rng.choice(list('abcde'), n), gear=rng.choice(['net','rod'], n),
                          score=rng.normal(size=n), game=game+1+100*seed, event=np.arange(n)%25,
                          x_m=rng.uniform(0, 60, n), y_m=rng.uniform(0, 26, n), depth=rng.integers(10, 90, n)))
    for k in COLUMNS[7:11]: t[k] = rng.uniform(-5, 5, n)
    t['odds'] = -.4+.05*(t.x_m-30)+.8*t.score+.7*(t.gear=='rod')
    t['result'] = np.where(rng.random(n)<expit(t.odds), 'turnover', 'complete')
    return t

@pytest.fixture(scope='module')
def files(tmp_path_factory):
    d = tmp_path_factory.mktemp('passes'); t = passes(); t.drop(columns='odds').to_csv(d/'t.csv', index=False)
    new = passes(80, 1); new.loc[3, 'x_m'] = np.nan
    new.loc[4, 'passer'] = 'z'
    pd.concat([new, t[:20]]).drop(columns='odds').to_csv(d/'new.csv', index=False)
    return d

def line(d, out, *more, table='t.csv', place='x_m,y_m:12x6@0:60,0:26'):
    return ['events', '--table', str(d/table), '--label', 'result', '--index', 'passer', '--place', place,
            '--out', str(out), *more]

@pytest.fixture(scope='module')
def run(files):
    out = files/'run'
    assert main(line(files, out, '--bag', 'opp1_dx,opp1_dy+opp2_dx,opp2_dy:4x4', '--covariates', 'score,gear',
                     '--groups', 'game', '--id', 'game', 'event', '--terms',
                     'passer,place,bag,passer:place', '--rank', '1')) == 0
    return out

@pytest.fixture(scope='module')
def predicted(files, run):
    assert main(['predict', str(run), '--table', str(files/'new.csv'), '--out', str(files/'p.csv')]) == 0
    return pd.read_csv(files/'p.csv')

# ---- a column in two roles

@pytest.mark.parametrize('a,b',
                         [*itertools.combinations_with_replacement(['groups','covariates','index','id',
        'exposure','curve'], 2)])
def test_a_column_has_two_roles(files, a, b):
    ask = {k: 'game' for k in {a,b}}
    modes = modes_of([ask.get('index', 'passer')], ['x_m,y_m:4x4'], None,
                     [ask['curve']] if 'curve' in ask else None) if {a,b}!={'index','curve'} else None
    if modes is None:
        with pytest.raises(ConfigError, match="two modes are called 'game'"): modes_of(['game'], None, None, ['game'])
        return
    label = 'depth' if 'exposure' in ask else 'result' # an exposure is of counts
    p = own_events(files/'t.csv', modes, label, groups=ask.get('groups'), exposure=ask.get('exposure'),
                   covariates=[ask['covariates']] if 'covariates' in ask else [],
                   id=['game','event'] if 'id' in ask else [])
    assert (len(p.design) == N and sum(map(len, p.rows.values())) == N
            and (p.covariates is not None) == ('covariates' in ask) and (p.offset is not None) == ('exposure' in ask))
    if 'groups' in ask: assert not set(p.groups[p.rows['train']])&set(p.groups[p.rows['test']])

@pytest.mark.parametrize('option', ['--groups', '--covariates', '--exposure', '--index'])
def test_the_label_explains_nothing(files, tmp_path, capsys, option):
    assert main(line(files, tmp_path/'r', option, 'result')) == 2 and 'cannot explain itself' in capsys.readouterr().err

# ---- ids

def test_ids_must_tell_rows_apart(files, tmp_path, capsys):
    assert main(line(files, tmp_path/'r', '--id', 'event', '--dry-run')) == 2; said = capsys.readouterr().err
    assert (f'{N:,} of {N:,} rows share their event' in said and "such as '0' in 28 rows" in said
            and '--id game event' in said)
    assert main(line(files, tmp_path/'r', '--id', 'game', 'event', '--dry-run')) == 0

def test_whole_numbers_are_one_name_however_they_are_read():
    e = SimpleNamespace(frame=pd.DataFrame(dict(game=[1., 1., 2.], event=['a','b','a'])))
    assert list(names_of(e, ['game','event'], 't')) == ['1 a','1 b','2 a']

def test_a_prediction_says_what_the_run_saw(files, run, predicted, capsys):
    assert main(['predict', str(run), '--table', str(files/'new.csv'), '--out', str(files/'p.csv')]) == 0
    said = capsys.readouterr().out
    assert ('20 seen in training, 79 new with a label, 0 without a label; left out: 1 without x_m; 1 of an '
            'unknown passer' in said)
    assert (predicted.set=='seen').sum() == 20 and 'auc' in json.loads((files/'p.metrics.json').read_text())['test']
    pd.read_csv(files/'new.csv').drop(columns='event').to_csv(files/'nameless.csv', index=False)
    assert main(['predict', str(run), '--table', str(files/'nameless.csv'), '--out',
                 str(files/'q.csv')]) == 0 and 'has no column event' in capsys.readouterr().out

# ---- places off the map

def test_training_and_prediction_have_one_rule_for_places(files, run, tmp_path, capsys):
    off = pd.read_csv(files/'new.csv'); off.loc[6, 'x_m'] = 3000.
    off.to_csv(tmp_path/'t.csv', index=False)
    predict = lambda r, *more: main(['predict', str(r), '--table', str(tmp_path/'t.csv'), '--out',
                                     str(tmp_path/'p.csv'), *more])
    assert predict(run) == 2; said = capsys.readouterr().err
    assert ('1 places of place lie outside' in said and 'the first in row 7 of' in said and 'x_m = 3000' in said
            and 'say --unknown to move them' in said and 'outside=' not in said and '--outside' not in said
            and predict(run, '--unknown') == 0 and 'moved to the edge (row 7)' in capsys.readouterr().out)
    for rule,did in ('clip','which is moved to the edge'),('drop','which adds nothing'):
        config = json.loads((run/'config.json').read_text())|dict(outside=rule)
        copy = tmp_path/rule; copy.mkdir()
        (copy/'config.json').write_text(json.dumps(config))
        for f in ('model.mrtl','metrics.json','predictions.csv','scored.mrtl'): (copy/f).symlink_to(run/f)
        assert (predict(copy) == 0 and f'outside: 1 row with a place outside the rectangle '
                f'of place, {did}' in capsys.readouterr().out)
    assert main(line(tmp_path, tmp_path/'r', '--dry-run')) == 2 and 'row 7 of' in capsys.readouterr().err

def test_places_in_words_are_refused(files, tmp_path, capsys):
    t = pd.read_csv(files/'t.csv').astype({'x_m': object})
    t.loc[9, 'x_m'] = 'left'
    t.to_csv(tmp_path/'t.csv', index=False)
    assert main(line(tmp_path, tmp_path/'r', '--dry-run')) == 2 and "must hold numbers" in capsys.readouterr().err

# ---- covariates, and which class is up

def test_covariates_are_told_before_and_after(files, run, tmp_path, capsys):
    assert main(line(files, tmp_path/'r', '--covariates', 'score', 'gear', '--dry-run')) == 0
    said = capsys.readouterr().out
    assert ('covariates: score (a number), gear (2 levels, compared with net: rod); the simpler methods '
            'have them, too' in said and 'then once more, in the same way, on all 700 rows' in said)
    c = read_covariates(run)
    assert list(c.covariate.values) == ['score','gear[rod]'] and ((c.coef-[.8,.7])/c['std']).max()<3
    page = (run/'report.html').read_text()
    assert 'What goes with the covariates' in page and 'gear[rod]' in page and 'were given the same covariates' in page
    assert main(line(files, run, '--bag', 'opp1_dx,opp1_dy+opp2_dx,opp2_dy:4x4', '--covariates', 'score,gear',
                     '--groups', 'game', '--id', 'game', 'event', '--terms', 'passer,place,bag,passer:place',
                     '--rank', '1', '--overwrite')) == 0
    said = capsys.readouterr().out
    assert f"covariate score: {float(c.coef[0]):+.3g} (" in said and 'higher: more turnover' in said

def test_the_page_says_which_class_is_up(files, run, tmp_path, capsys):
    assert 'higher: more turnover; a higher score is red in the figures' in (run/'report.html').read_text()
    m = MRTLClassifier.load(run/'model.mrtl')
    assert (m.classes_.tolist() == ['complete','turnover']
            and MRTLClassifier.load(run/'scored.mrtl').classes_.tolist() == ['complete','turnover'])

@pytest.mark.parametrize('classes,codes,numbers,labels',
                         [(['b','a'], [0.,1.], [0,1], ['b','a']), (['1','0'], [0.,1.], [0,1], [1,0]),
                          (['1','2'], [0.,1.], [0,1], [1,2]), (['0.5','07'], [0.,1.], [0,1], ['0.5','07']),
                          (['a','b','c'], [0.,2.], [0,2], ['a','c'])])
def test_labels_and_numbers_of_classes(classes, codes, numbers, labels):
    "A model may call classes by number, as it was fitted, or by label, as it is kept."
    p = Problem(range(2), np.array([0., 1.]), {}, kind='classes', classes=classes)
    m = SimpleNamespace(classes_=np.array(codes), fitted_=SimpleNamespace(loss='softmax'))
    assert p.class_numbers(m).tolist() == numbers
    p.name_classes(m)
    assert m.classes_.tolist() == labels == m._outputs and p.class_numbers(m).tolist() == numbers

def test_several_classes_and_their_covariates(files, tmp_path):
    t = pd.read_csv(files/'t.csv')
    t['result'] = np.where(t.score+np.random.default_rng(0).normal(size=N)>1, 'lost', t.result)
    t.to_csv(tmp_path/'t.csv', index=False)
    assert main(line(tmp_path, tmp_path/'r', '--covariates', 'score', '--terms', 'place')) == 0
    assert (MRTLClassifier.load(tmp_path/'r'/'model.mrtl').classes_.tolist() == ['complete','lost','turnover']
            and read_covariates(tmp_path/'r').coef.dims == ('covariate','class'))
    # one term: no groups
    assert xr.load_dataset(tmp_path/'r'/'factors.nc')['class'].values.tolist() == ['complete','lost','turnover']
    assert main(['predict', str(tmp_path/'r'), '--table', str(tmp_path/'t.csv'), '--out', str(tmp_path/'p.csv')]) == 0
    p = pd.read_csv(tmp_path/'p.csv'); assert p['std'].isna().all() and (p.prediction==p.truth).mean()>.5

# ---- intervals of probabilities

def test_probabilities_have_intervals(run, predicted):
    p = predicted
    assert ((p.lower<p.p_turnover)
            &(p.p_turnover<p.upper)).all() and (p['std']>0).all() and (p.lower>0).all() and (p.upper<1).all()
    new = pd.read_csv(run.parent/'new.csv').dropna()
    truth = expit(passes(80, 1).odds.drop(3))
    assert .8<((truth.values>=p.lower[:79])&(truth.values<=p.upper[:79])).mean()
    assert read_predictions(run)['std'].notna().all() and len(new) == len(p)

def test_python_gives_the_same_standard_deviation(run):
    t = passes(60, 2)
    m = MRTLClassifier.load(run/'model.mrtl')
    d = EventDesign.from_table(t, dict(passer='passer', place=('y_m','x_m'),
                                       bag=[('opp1_dy','opp1_dx'),('opp2_dy','opp2_dx')]),
                               like=SimpleNamespace(modes=m._modes))
    z = t[['score','gear']]
    P,std = m.predict_proba(d, z, return_std=True)
    assert P.shape == std.shape == (60,2) and np.allclose(P, m.predict_proba(d, z)) and np.allclose(std[:,0], std[:,1])
    scores = np.concatenate([m.fitted_.model(d, (z_ := m._sides(z, None, d, 60)[0])).forward(F)[0]
                             for F in m.fitted_.draws], 1)
    assert np.allclose(std[:,1], P[:,0]*P[:,1]*scores.std(1)) and z_.shape == (60,2)
    assert set(m.predict(d, z)) == {'complete','turnover'} and m.score(d, t.result, covariates=z)>.5
    assert np.array_equal(m.transform(d, covariates=z), m.transform(d))

def test_a_way_without_a_posterior_says_so():
    t = passes(40)
    d = EventDesign.from_table(t, dict(place=('x_m','y_m')), dict(place=Grid((4,4), y=(0,26), x=(0,60))))
    m = MRTLClassifier(rank=1, method='sgd', max_epochs=1, optimizer='adam').fit(d, np.arange(40)%4>1)
    with pytest.raises(ConfigError, match="method='sgd'"): m.predict_proba(d, return_std=True)
    p = Problem(d, (np.arange(40)%4>1).astype(float), {}, kind='classes'); assert p.chance_interval(m) is None

# ---- marks of missing values

def test_marks_of_missing_values(files, tmp_path, capsys):
    t = pd.read_csv(files/'t.csv'); t.loc[:4, 'depth'] = -9
    t.loc[10:12, 'score'] = -99.; t.loc[20:21, 'passer'] = ' '
    t.to_csv(tmp_path/'t.csv', index=False)
    ask = line(tmp_path, tmp_path/'r', '--covariates', 'score', '--curve', 'depth', '--dry-run')
    assert main(ask) == 0; said = capsys.readouterr().out
    assert ('column depth holds 5 times -9, unlike all its other numbers: say --missing -9' in said
            and 'score holds 3 times -99' in said and '2 without passer' in said)
    assert main([*ask, '--missing', '-9,-99']) == 0
    said = capsys.readouterr().out
    assert '5 without depth' in said and '3 without score' in said and 'warning' not in said
    assert main([*ask, '--missing', 'none']) == 0
    said = capsys.readouterr().out
    assert 'warning' not in said and 'without depth' not in said
    t['result'] = t.result.where(t.index!=30, '  ')
    t.to_csv(tmp_path/'t.csv', index=False)
    assert main(line(tmp_path, tmp_path/'r', '--dry-run')) == 0 and '1 without result' in capsys.readouterr().out

def test_a_list_of_numbers_is_no_option():
    assert parse(['events', '--missing', '-9,-99', '--dry-run'])[1]['missing'] == '-9,-99' and parse(['events',
            '--missing=-9'])[1]['missing'] == '-9'

# ---- numbers, groups, names

def test_a_curve_of_numbers(files, tmp_path, capsys):
    assert main(line(files, tmp_path/'r', '--curve', 'depth', '--terms', 'depth,place')) == 0 and main(['predict',
            str(tmp_path/'r'), '--table', str(files/'t.csv'), '--out', str(tmp_path/'p.csv')]) == 0
    with xr.open_datatree(tmp_path/'r'/'factors.nc') as tree:
        v = tree['depth'].to_dataset()
        assert v.sizes['depth'] == 13 and v.depth_loading.attrs['lookup'] == 'bilinear'
    capsys.readouterr()
    assert (main(line(files, tmp_path/'q', '--index', 'passer', 'depth', '--dry-run')) == 0 and '80 numbers are '
            'taken as names; --curve depth instead of --index depth' in capsys.readouterr().out)

def test_groups_that_cannot_be_dealt_out(files, tmp_path, capsys):
    assert main(line(files, tmp_path/'r', '--groups', 'gear', '--dry-run')) == 2; said = capsys.readouterr().err
    assert 'at least three groups' in said and ('has 2: net, rod' in said or 'has 2: rod, net' in said)
    t = pd.read_csv(files/'t.csv'); t['subject'] = 'M'+(t.game%7).astype(str); t.to_csv(tmp_path/'t.csv', index=False)
    assert main(line(tmp_path, tmp_path/'r', '--groups', 'subject', '--covariates', 'subject', '--dry-run')) == 2
    said = capsys.readouterr().err
    assert 'covariate subject is M' in said and 'since --groups subject holds whole groups out' in said

def test_a_level_that_only_held_out_rows_have():
    t = pd.DataFrame(dict(subject=['a','b']*10+['c']*5)); w = np.r_[np.ones(20), np.zeros(5)]
    with pytest.raises(DataError, match=r'subject\[c\] is 0 in all training rows.*5 rows that are held out'):
        Covariates.learn(t, w)
    with pytest.raises(DataError) as e: Covariates.learn(pd.DataFrame(dict(z=np.ones(20))), np.ones(20))
    assert 'held out' not in str(e.value)

def test_what_a_design_does_not_know_is_told():
    t = pd.DataFrame(dict(who=list('abab'), depth=[1., 2., 3., 4.5]))
    known = EventDesign.from_table(t, dict(who='who', depth='depth'))
    with pytest.warns(UserWarning) as said:
        EventDesign.from_table(t.assign(who=list('azzb'), depth=[1., np.nan, 2., 3.]),
                               dict(who='who', depth='depth'), like=known)
    assert [str(w.message) for w in said] == ["column who has a label that the design does not know in 2 of 4 "
                                              "rows, such as 'z': who adds nothing there",
                                              'column depth has no number in 1 of 4 rows: depth adds nothing there']
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        EventDesign.from_table(t, dict(who='who', depth='depth'), like=known)

def test_maps_keep_their_place_and_are_drawn_with_x_across(run):
    with xr.open_datatree(run/'factors.nc') as tree: place,bag = (tree[k].to_dataset() for k in ('place','bag'))
    assert (place.place.dims == ('x_m','y_m','component') and bag.bag.dims == ('opp_dx','opp_dy','component')
            and 'passer~place' in tree.children)
    turned = x_across(dict(place=place, bag=bag))
    assert (turned['place'].place.dims == ('y_m','x_m','component')
            and turned['bag'].bag.dims == ('opp_dy','opp_dx','component'))
    v = xr.DataArray(np.zeros((2,3)), dims=('lat','lon')); assert x_across(v).dims == v.dims

# ---- several classes, and rows in another order

def plain(n=N, seed=0):
    t = passes(n, seed)
    return t,EventDesign.from_table(t, dict(place=('x_m','y_m')), dict(place=Grid((4,4), y=(0,26), x=(0,60))))

def test_coefficients_of_several_classes_have_a_spread():
    t,d = plain()
    s = np.c_[np.zeros(N), t.score, -t.score]+np.random.default_rng(1).gumbel(size=(N, 3))
    y = np.array(list('abc'))[s.argmax(1)]
    c = MRTLClassifier(terms=[Term('place', smooth=1e6, ridge=1e6)]).fit(d, y, covariates=t[['score']]).covariates_
    z = (t.score-t.score.mean())/t.score.std(ddof=0)
    # a regression without a map
    std = class_block(np.eye(3)[s.argmax(1)], np.ones(N), 'softmax', np.array(z)[:,None])[2]
    assert np.allclose(c['std'].values*t.score.std(ddof=0)/std, 1,
                       atol=.05) and np.allclose(c.coef.values, [[0,1,-1]], atol=.3)

def test_events_find_their_rows_by_label():
    t,d = plain(300)
    t = t.set_axis([f'p{i}' for i in range(300)])
    named = EventDesign.from_table(t, dict(place=('x_m','y_m')), dict(place=d.modes[0].grid))
    mixed = t.sample(frac=1, random_state=1)
    w = pd.Series(np.r_[np.full(200, 1.), np.full(100, 3.)], t.index)
    o = t.game/10.
    fit = lambda y, z, o, w, d: MRTLClassifier(terms=[Term('place', smooth=1., ridge=1.)]).fit(d, y, covariates=z,
            offset=o, sample_weight=w)
    own = fit(t.result, t[['score']], o, w, named)
    P = own.predict_proba(named, t[['score']], o)
    for design,at in (named,t.index),(d,pd.RangeIndex(300)):
        put = lambda v: v.set_axis(at).reindex(pd.Index(at)[np.random.default_rng(2).permutation(300)])
        z = put(t[['score']])
        other = fit(put(t.result), z, put(o), put(w), design)
        assert np.allclose(other.predict_proba(design, z, put(o)),
                           P) and np.allclose(other.score(design, put(t.result), put(w), z, put(o)),
                                              own.score(named, t.result, w, t[['score']], o))
        assert np.allclose(other.predict_proba(design.take([5, 3]), z, put(o)), P[[5, 3]])
    with pytest.raises(DataError, match='1 of 300 labels of X.*design.index.isin'):
        own.predict_proba(named, t[['score']][1:], o)
    with pytest.raises(DataError, match='X was shuffled'):
        other.predict_proba(d.take(np.arange(300)[::-1]), t[['score']].reset_index(drop=True), np.zeros(300))

# ---- what a table is asked before it is believed

def dry(tmp_path, capsys, t, *more, **k):
    t.to_csv(tmp_path/'t.csv', index=False)
    code = main(line(tmp_path, tmp_path/'r', '--dry-run', *more, **k))
    said = capsys.readouterr()
    return code,said.out+said.err

def test_ordered_words_need_their_order(files, tmp_path, capsys):
    t = pd.read_csv(files/'t.csv'); t['result'] = np.select([t.score>1, t.score>0], ['severe','mild'], 'none')
    code,said = dry(tmp_path, capsys, t, '--kind', 'ordered')
    assert (code == 2 and 'needs the order of the classes' in said
            and '--order mild,none,severe, in their right order' in said)
    code,said = dry(tmp_path, capsys, t, '--order', 'none,mild,severe')
    assert (code == 0 and 'a later class of none, mild, severe' in said and '(ordered: ' in said
            and 'rank=4 is more than' not in said and 'by method sgd, rank 4' in said)
    code,said = dry(tmp_path, capsys, t, '--order', 'none,mild,severe', '--kind', 'classes')
    assert code == 0 and 'for each of none, mild, severe' in said
    for order,why in (('none,mild', "t.csv' holds 'severe', which --order does not name"),
                      ('none,mild,sever', "holds 'severe' (did you mean 'sever'?)"),
                      ('none,mild,severe,dead', "--order names 'dead', but"), ('none,none,mild,severe', 'twice')):
        code,said = dry(tmp_path, capsys, t, '--order', order); assert code == 2 and why in said
    code,said = dry(tmp_path, capsys, pd.read_csv(files/'t.csv'), '--order', 'turnover,complete')
    assert code == 0 and 'higher: more complete' in said
    t['result'] = np.select([t.score>1, t.score>0], [2, 1], 0)
    assert dry(tmp_path, capsys, t, '--kind', 'ordered')[0] == 0
    code,said = dry(tmp_path, capsys, t)
    assert (code == 0 and 'result holds 0, 1, 2 and is taken for a number; if these are counts, say --kind '
            'counts; if they are classes, --kind classes or --kind ordered' in said)

def test_a_rank_that_nobody_chose_is_not_warned_of(files, tmp_path, capsys):
    t = pd.read_csv(files/'t.csv')
    p = own_events(files/'t.csv', modes_of(None, ['x_m,y_m:4x4'], None), 'result')
    assert event_options(p, {}, method='sgd')['rank'] == 1 and event_options(p, {}, method='sgd', rank=3)['rank'] == 3

def test_words_for_nothing(files, tmp_path, capsys):
    t = pd.read_csv(files/'t.csv')
    t['result'] = np.where(t.index<400, 'None', t.result)
    t.loc[5:9, 'result'] = 'NA'
    t['passer'] = t.passer.replace('a', 'NA')
    n = int((t.passer=='NA').sum())
    t['score'] = t.score.astype(object); t.loc[2, 'score'] = 'NA'
    code,said = dry(tmp_path, capsys, t, '--covariates', 'score')
    assert (code == 0 and "column result holds 395 times 'None', which is taken for a name" in said
            and "column result holds 5 times 'NA', which is taken for a missing value: say --missing none" in said)
    assert (f"column passer holds {n} times 'NA'" in said and f'{n} without passer' in said
            and '1 without score' in said and 'score (a number)' in said and 'None, ' in said)
    code,said = dry(tmp_path, capsys, t, '--missing', 'none')
    assert code == 0 and 'warning' not in said and 'left out: none' in said and 'passer (5)' in said
    m = own_events(tmp_path/'t.csv', modes_of(['passer'], None, None), 'result', missing=[])
    assert m.classes == ['NA','None','complete','turnover'] and m.design.modes[0].labels[0] == 'NA'

def test_spellings_codes_and_copies_are_told(files, tmp_path, capsys):
    t = pd.read_csv(files/'t.csv'); t['net'] = np.arange(N)%2
    t.loc[:4, 'net'] = 9
    t.loc[:9, 'result'] = t.result[:10].str.upper()
    t.loc[10:12, 'passer'] = 'a '
    t['gear'] = t.gear.where(t.index>3, 'Net')
    t = pd.concat([t, t[20:40]])
    code,said = dry(tmp_path, capsys, t, '--covariates', 'net', 'gear')
    assert (code == 0 and 'column net holds 5 times 9, unlike' in said
            and "column passer holds 'a' and 'a '" in said and "column gear holds 'Net' and 'net'" in said)
    assert ("column result holds" in said
            and "'COMPLETE' and 'complete'" in said.replace("'complete' and 'COMPLETE'",
            "'COMPLETE' and 'complete'") and '20 of 720 rows are the same as an earlier row' in said)
    t['score'] = t.score.astype(str).where(t.index>3, '<9.81')
    code,said = dry(tmp_path, capsys, t, '--covariates', 'score')
    assert code == 2 and "texts that are not numbers, such as '<9.81'" in said

def test_far_places_and_visits_are_told(files, tmp_path, capsys):
    t = pd.read_csv(files/'t.csv'); place = 'x_m,y_m:4x4'; far = t.copy(); far.loc[:4, 'x_m'] += 360
    code,said = dry(tmp_path, capsys, t, place=place)
    assert (code == 0 and 'warning' not in said and 'place (4 x 4, x_m from 0.' in said
            and '; --groups holds whole groups out' in said)
    code,said = dry(tmp_path, capsys, far, place=place)
    assert (code == 0 and '5 of 700 places of place lie far from all others (x_m is 3' in said
            and 'the first in row 1,' in said)
    wells = t.copy(); wells[['x_m','y_m']] = t[['x_m','y_m']].values[np.arange(N)//7]; wells['well'] = np.arange(N)//7
    code,said = dry(tmp_path, capsys, wells, place=place)
    assert '700 of 700 rows share their exact place with another row (100 places in all)' in said
    assert 'share their exact' not in dry(tmp_path, capsys, wells, '--groups', 'well', place=place)[1]

# ---- predictions of what a run does not know

def predict(run, d, t, capsys, *more):
    t.to_csv(d/'new.csv', index=False)
    code = main(['predict', str(run), '--table', str(d/'new.csv'), '--out', str(d/'p.csv'), *more])
    said = capsys.readouterr()
    return code,said.out+said.err

def test_a_prediction_of_mostly_unknown_names_or_places_stops(files, run, tmp_path, capsys):
    new = passes(60, 3).drop(columns='odds')
    code,said = predict(run, tmp_path, new.assign(passer=new.passer.str.upper()), capsys)
    assert (code == 2 and '60 of 60 rows of' in said and 'have a passer that the run does not know' in said
            and 'did you mean' in said and 'say --unknown' in said and not (tmp_path/'p.csv').exists())
    code,said = predict(run, tmp_path, new.assign(passer=np.where(np.arange(60)<50, 'z', new.passer)), capsys,
                        '--unknown')
    assert code == 0 and "50 of an unknown passer, which adds nothing ('z' in rows 1, 2, 3, 4, 5 ...)" in said
    config = json.loads((run/'config.json').read_text())
    config['modes']['place']['extent'] = None
    copy = tmp_path/'run'; copy.mkdir()
    (copy/'config.json').write_text(json.dumps(config))
    for f in ('model.mrtl','metrics.json','predictions.csv','scored.mrtl'): (copy/f).symlink_to(run/f)
    km = new.assign(x_m=new.x_m*1000)
    code,said = predict(copy, tmp_path, km, capsys)
    assert (code == 2 and 'lie outside the rectangle of place (x_m from 0 to 60, y_m from 0 to 26), the first in '
            'row 1 (x_m = ' in said and 'units' in said)
    code,said = predict(copy, tmp_path, km, capsys, '--unknown')
    assert code == 0 and 'outside: 60 rows' in said and '(rows 1, 2, 3, 4, 5 ...)' in said

def test_the_same_ids_of_other_people_are_new(files, run, tmp_path, capsys):
    t = pd.read_csv(files/'t.csv')[:60]
    other = passes(60, 5).drop(columns='odds').assign(game=t.game, event=t.event)
    other[30:] = t[30:]
    code,said = predict(run, tmp_path, other, capsys)
    assert (code == 0 and '30 seen in training, 30 new with a label' in said and '30 rows have the game and event '
            'of a row of the training, but hold something else: they count as new' in said)

def test_a_prediction_takes_marks_of_its_own(files, run, tmp_path, capsys):
    t = passes(60, 3).drop(columns='odds')
    t.loc[:2, 'score'] = -99.
    assert 'say --missing -99' in predict(run, tmp_path, t, capsys)[1]
    code,said = predict(run, tmp_path, t, capsys, '--missing', '-99')
    assert code == 0 and 'left out: 3 without score' in said and 'warning' not in said

def test_an_unknown_name_is_less_sure_than_a_known_one(run):
    t = passes(60, 2)
    m = MRTLClassifier.load(run/'model.mrtl')
    spec = dict(passer='passer', place=('y_m','x_m'), bag=[('opp1_dy','opp1_dx'),('opp2_dy','opp2_dx')])
    with pytest.warns(UserWarning, match='in 60 of 60 rows'):
        z = EventDesign.from_table(t.assign(passer='z'), spec, like=SimpleNamespace(modes=m._modes))
    known = np.stack([m._score_std(EventDesign.from_table(t.assign(passer=k), spec,
            like=SimpleNamespace(modes=m._modes)), t[['score','gear']])[:,0] for k in 'abcde'])
    effects = np.stack([m.fitted_.scores(EventDesign.from_table(t.assign(passer=k), spec,
            like=SimpleNamespace(modes=m._modes)), m._sides(t[['score','gear']], None, t, 60)[0])[:,0]
                        for k in 'abcde'])
    unknown = m._score_std(z, t[['score','gear']])[:,0]
    assert np.allclose(unknown**2, (known**2).mean(0)+effects.var(0),
                       rtol=.5) and (unknown**2).mean() > .9*((known**2).mean()+effects.var(0).mean())

def test_a_probability_has_no_larger_spread_than_it_can():
    t,d = plain(300)
    m = MRTLClassifier(terms=['place']).fit(d, t.result)
    m.fitted_.draws = [[f*1e4*(-1)**i for f in F] for i,F in enumerate(m.fitted_.draws)]
    P,std = m.predict_proba(d, return_std=True)
    assert (std<=.5).all() and (std<=np.sqrt(P*(1-P))+1e-12).all() and std.max()>.3
    p = Problem(d, (t.result=='turnover').astype(float).values, {}, kind='classes').chance_interval(m)
    assert (p.std<=.5).all() and (p.upper-p.lower>.9).all()

def test_a_covariate_of_whole_groups_is_less_sure():
    t,d = plain(); g = np.arange(N)//10; rng = np.random.default_rng(3)
    z = pd.DataFrame(dict(same=rng.normal(size=g.max()+1)[g], own=rng.normal(size=N)))
    y = rng.random(N)<expit(1.5*rng.normal(size=g.max()+1)[g])
    std = [MRTLClassifier(terms=[Term('place', smooth=1e3, ridge=1e3)]).fit(d, y, covariates=z,
            groups=k).covariates_['std'].values for k in (None, g)]
    wider = std[1]/std[0]
    assert wider[0]>1.3*wider[1] and wider[0]>1.5 # one factor for both would make them alike

# ---- Python

def test_what_python_says_of_events():
    t,d = plain(60)
    spec,grids = dict(passer='passer', place=('x_m','y_m')),dict(place=d.modes[0].grid)
    both = EventDesign.from_table(t, spec, grids)
    with pytest.warns(UserWarning, match=r'60 of 60 points of place lie outside its rectangle \(y from 0 to 26, x from 0 to 60\) and are moved'):
        EventDesign.from_table(t.assign(x_m=t.x_m*1000+100), spec, grids, outside='clip')
    turned = EventDesign.from_table(t, dict(reversed(spec.items())), like=both)
    assert [m.name for m in turned.modes] == ['passer','place'] and np.array_equal(turned, both)
    m = MRTLClassifier(terms=[Term('place', smooth=1., ridge=1.)])
    with pytest.raises(DataError, match='groups has no value in 2 of 60 rows'):
        m.fit(d, t.result, groups=t.passer.where(t.index>1))
    with pytest.raises(DataError, match="texts, such as '.' in column passer: make it a design first, "
                       "EventDesign.from_table"):
        m.fit(t, t.result)
    m.fit(d, t.score>0)
    with pytest.raises(DataError, match="got 'False', 'True' in 60 of 60"): m.score(d, (t.score>0).astype(str))

def test_ids_that_repeat_in_a_prediction(files, run, tmp_path, capsys):
    code,said = predict(run, tmp_path, pd.concat([passes(9, 3), passes(9, 3)]).drop(columns='odds'), capsys)
    assert code == 2 and 'the run names rows by them' in said and '--id' not in said
