"""The commands from files to a folder, on small made-up files; and the demo's figures that a run must reach."""
import json, os, shutil, signal, subprocess, sys, time
from pathlib import Path
import numpy as np, pandas as pd, pytest, xarray as xr
from mrtl.cli import main
from mrtl.estimators import MRTLClassifier
from test_basketball import log, shots

@pytest.fixture(scope='module')
def files(tmp_path_factory):
    d = tmp_path_factory.mktemp('files'); rng = np.random.default_rng(0)
    time = pd.date_range('1950-01', periods=480, freq='MS')
    lat,lon = np.arange(-25., 26, 10),np.arange(-175., -74, 10)
    sst = rng.normal(size=(480, len(lat), len(lon))).cumsum(1).cumsum(2)/5
    xr.Dataset({'sst': (('time','lat','lon'), sst)}, dict(time=time, lat=lat, lon=lon)).to_netcdf(d/'sst.nc')
    signal = np.roll(sst[:,2:4,4:8].mean((1,2)), 1); rain = 3+signal/signal.std()+.5*rng.normal(size=(3, 480))
    xr.Dataset({'precip': (('division','time'), rain)},
               dict(division=['0201','0202','2901'], state=('division', ['AZ','AZ','NM']),
                    census_midwest=('division', np.array([0,0,1], 'int8')), time=time)).to_netcdf(d/'rain.nc')
    return d

def command(files, out, *more):
    return ['climate', '--ocean', str(files/'sst.nc'), '--rain', str(files/'rain.nc'), '--leads', '3', '--rank',
            '2', '--out', str(out), *more]

def as_scored(run, to):
    "A copy of a run whose model is the one that was scored, learnt before the refit on all rows."
    shutil.copytree(run, to); (to/'scored.mrtl').replace(to/'model.mrtl'); return to

@pytest.fixture(scope='module')
def run(files):
    out = files/'run'; assert main(command(files, out, '--region', 'AZ')) == 0
    return out

def test_climate_leaves_its_files(run):
    assert ({'model.mrtl','factors.nc','coefficients.nc','history.csv','metrics.json','config.json','report.html'}
            <= {f.name for f in run.iterdir()} and not (run/'checkpoint.mrtl').exists())
    m = json.loads((run/'metrics.json').read_text())
    assert ({'valid','test','baselines','seconds','levels','rows','versions'} <= set(m)
            and {'r2','mse','mae'} <= set(m['test']) and {'train','valid','test','total'} <= set(m['rows']))
    assert .4 < m['test']['r2'] < .9 and m['baselines']['climatology']['test']['r2'] == 0.
    assert xr.load_dataset(run/'factors.nc').space.dims == ('lat','lon','component')
    best = [l['best_loss'] for l in m['levels'] if l['stage'] == 'low']
    assert all(b <= a*(1+1e-6) for a,b in zip(best, best[1:]))

def test_predict_scores_the_same_months(files, run, capsys):
    # the run's own predictions are those of the model before its refit
    out,scored = files/'elsewhere'/'p.csv',as_scored(run, files/'scored')
    assert main(['predict', str(scored), '--out', str(out), '--ocean', str(files/'sst.nc'), '--rain',
                 str(files/'rain.nc')]) == 0
    new,old = (pd.read_csv(f).set_index('sample') for f in (out, run/'predictions.csv'))
    both = new.join(old[old.set != 'gap'].add_suffix('_old'), how='inner')
    assert len(both) > 300
    np.testing.assert_allclose(both.prediction, both.prediction_old, atol=1e-3)
    np.testing.assert_allclose(both.truth, both.truth_old, atol=1e-3)
    assert main(['predict', str(run), '--out', str(run/'p.csv'), '--ocean',
                 str(files/'sst.nc')]) == 2 and "lies in the run's own folder" in capsys.readouterr().err
    assert main(['predict', str(run), '--out',
                 str(files/'elsewhere'/'q.csv')]) == 2 and '--ocean' in capsys.readouterr().err

def test_report_is_made_again(run):
    before = (run/'report.html').read_text(); (run/'report.html').unlink()
    assert main(['report', str(run)]) == 0 and len((run/'report.html').read_text()) == len(before)

def test_coming_back(files, run, capsys):
    stamp = (run/'metrics.json').stat().st_mtime_ns
    assert main(command(files, run, '--region', 'AZ')) == 2 and '--resume' in capsys.readouterr().err
    assert main(command(files, run, '--region', 'AZ', '--resume')) == 0 and 'nothing to do' in capsys.readouterr().out
    assert main(command(files, run, '--region', 'AZ', '--overwrite', '--window',
                        '2')) == 2 and 'another window' in capsys.readouterr().err
    assert (run/'metrics.json').stat().st_mtime_ns == stamp

def test_several_outputs(files):
    assert main(command(files, files/'by', '--region', 'all', '--by', 'division')) == 0
    page = (files/'by'/'report.html').read_text()
    assert 'Where the rain answers' in page and 'Test R2 of each place' in page
    m = json.loads((files/'by'/'metrics.json').read_text()); p = pd.read_csv(files/'by'/'predictions.csv')
    assert len(m['test']['r2_by_output']) == 3 and p.output.nunique() == 3

def test_a_box_a_ladder_and_seasons(files, capsys):
    out = files/'box'
    assert main(command(files, out, '--region', 'AZ', '--box', '20S,20N,170W,80W', '--schedule', '2x4,4x9',
                        '--full-levels', '1', '--window', '2')) == 0
    m = json.loads((out/'metrics.json').read_text())
    assert [l['level'] for l in m['levels']] == ['2x4', '2x4',
                                                 '4x9'] and set(m['seasons']) == {'DJF', 'MAM', 'JJA', 'SON'}
    assert (sum(v['n'] for v in m['seasons'].values()) == m['rows']['test'] and 'share months' in m['notes'][0]
            and 'share months' in (out/'report.html').read_text())
    assert main(command(files, files/'bad', '--region', 'AZ', '--box',
                        '20S,20N')) == 2 and '20S,60N' in capsys.readouterr().err
    assert main(command(files, files/'bad', '--region', 'AZ', '--schedule',
                        '4,8')) == 2 and '--schedule takes' in capsys.readouterr().err

def test_bootstrap_on_a_finished_run_and_again(files, run, request):
    assert main(command(files, run, '--region', 'AZ', '--resume', '--bootstrap', '2')) == 0
    boot = xr.load_dataset(run/'bootstrap.nc'); page = (run/'report.html').read_text()
    assert boot.attrs['draws'] == 2 and {'space_lower', 'space_upper', 'stability',
                                         'coef_lower'} <= set(boot) and 'drawn anew 2 times' in page
    kept = {f.name: f.stat().st_mtime_ns for f in (run/'bootstrap').iterdir()}; assert len(kept) == 2
    request.getfixturevalue('no_pictures')
    assert main(command(files, run, '--region', 'AZ', '--resume', '--bootstrap',
                        '3')) == 0 and xr.load_dataset(run/'bootstrap.nc').attrs['draws'] == 3
    assert {k: (run/'bootstrap'/k).stat().st_mtime_ns for k in kept} == kept, 'draws are made once'

def test_same_seed_same_model(files, run, no_pictures):
    assert main(command(files, files/'again', '--region', 'AZ')) == 0
    assert pd.read_csv(run/'history.csv').valid_loss.equals(pd.read_csv(files/'again'/'history.csv').valid_loss)
    assert ((run/'factors.nc').exists()
            and xr.load_dataset(run/'factors.nc').equals(xr.load_dataset(files/'again'/'factors.nc')))

def test_the_demo_reaches_its_figures(tmp_path):
    "In CI of the run that README's own command has just made, in MRTL_DEMO."
    run = Path(os.environ.get('MRTL_DEMO') or tmp_path/'run')
    if run.parent == tmp_path: assert main(['demo', '--seed', '0', '--out', str(run)]) == 0
    c = json.loads((run/'config.json').read_text()); assert c['seed'] == 0 and c['n'] == 1000
    m = json.loads((run/'metrics.json').read_text())
    r = m['recovery']
    low = [l['best_loss'] for l in m['levels'] if l['stage'] == 'low']
    assert r['factor_match'] >= .9 and r['truth_r2']-m['test']['r2'] <= .04
    # no level makes things worse, and the finer ones earn their place
    assert all(b <= a*(1+1e-6) for a,b in zip(low, low[1:])) and low[-1] < .99*low[0]
    maps = list(r['map_correlation_by_level'].values())
    # smooth copies leave the finest levels little to mend
    assert all(b > a-.005 for a,b in zip(maps, maps[1:])) and maps[-1] > maps[1]+.005
    assert np.mean([l['stopped_by'] == 'criterion' for l in m['levels']]) >= .8
    assert {c['method'] for c in m['compare']} == {'multiresolution', 'fixed resolution', 'random start'}

@pytest.mark.parametrize('name',
                         ['demo','fields','events','climate','basketball','predict','report',
                          'compare','search','bench'])
def test_help_of_a_command_says_each_option_once(name, capsys):
    with pytest.raises(SystemExit): main([name, '--help'])
    said = capsys.readouterr().out
    assert (f'usage: mrtl {name}' in said and 'Parameters' not in said and '-----' not in said
            and said.count('--out OUT')<=2)

# ---- basketball

@pytest.fixture(scope='module')
def games(tmp_path_factory):
    "Thirty small games by hand, each with its own places; the play-by-play of all in one file."
    d = tmp_path_factory.mktemp('games'); rng = np.random.default_rng(0); plays = []
    for g in range(30):
        shift = np.append(0, rng.uniform(-1, 1, 1)); moments,p = shots(flip=lambda xy: xy+shift)
        (d/f'{g}.json').write_text(json.dumps(log(moments)|dict(gameid=f'{g:010d}')))
        plays += [r|dict(GAME_ID=g, PLAYER1_NAME=f"Player {r['PLAYER1_ID']}") for r in p]
    pd.DataFrame(plays).to_csv(d/'plays.csv', index=False)
    return d

def basketball(games, out, *more, n=30):
    return ['basketball', '--tracking', *[str(games/f'{g}.json') for g in range(n)], '--events',
            str(games/'plays.csv'), '--least', '1', '--out', str(out), *more]

@pytest.fixture(scope='module')
def games_run(games):
    assert main(basketball(games, games/'run', '--model', 'product')) == 0
    return games/'run'

def test_basketball_from_logs_to_a_report(games, games_run, capsys):
    run = games_run
    assert {'model.mrtl','scored.mrtl','factors.nc','coefficients.nc','history.csv','predictions.csv',
            'metrics.json','config.json','report.html','finished.json'} == {f.name for f in run.iterdir()}
    m = json.loads((run/'metrics.json').read_text())
    assert ({'auc','average_precision','log_loss','f1','brier'} <= set(m['test'])
            and set(m['baselines']) == {'constant','shot map','logistic regression'} and not m['leaky'])
    assert (list(m['counts']['steps'].values())[-1] == m['rows']['total'] == len(pd.read_csv(run/'predictions.csv'))
            and m['counts']['tracking']['files cut'] == 0)
    page = (run/'report.html').read_text()
    assert ('Main effects' in page and 'handler near the ball' in page
            and 'one defender three feet in front' in page and 'Leaky' not in page)
    before = len(page); (run/'report.html').unlink()
    assert main(['report', str(run)]) == 0 and len((run/'report.html').read_text()) == before
    out = games/'new'/'p.csv'
    assert main(['predict', str(as_scored(run, games/'scored')), '--tracking', str(games/'0.json'), '--events',
                 str(games/'plays.csv'), '--out', str(out)]) == 0
    new,old = (pd.read_csv(f).set_index('sample') for f in (out, run/'predictions.csv'))
    np.testing.assert_allclose(new.p_1, old.p_1[new.index], atol=1e-6)
    assert main(['predict', str(run), '--out', str(out)]) == 2 and '--tracking' in capsys.readouterr().err
    assert main(basketball(games, run, '--model', 'product')) == 2 and '--resume' in capsys.readouterr().err

def test_a_sum_of_terms_from_logs_to_a_report(games, capsys):
    run = games/'terms'; assert main(basketball(games, run)) == 0
    assert {'model.mrtl','scored.mrtl','factors.nc','coefficients.nc','history.csv','predictions.csv',
            'metrics.json','config.json','report.html','finished.json'} == {f.name for f in run.iterdir()}
    m,config = json.loads((run/'metrics.json').read_text()),json.loads((run/'config.json').read_text())
    assert config['inputs'] == m['inputs'] == 'defenders' and config['model'] == 'terms'
    assert (set(m['baselines']) == {'constant','shot map','boosting','logistic regression'}
            and set(m['gains']) == set(m['stability']) >= {'player','court','nearest','player:court'})
    page = (run/'report.html').read_text()
    assert all(w in page for w in ('Stability', 'with the others learnt again', 'one defender three feet in front',
                                   'boosting')) and 'Read this term with caution' in page
    before = len(page); (run/'report.html').unlink()
    assert main(['report', str(run)]) == 0 and len((run/'report.html').read_text()) == before
    out = games/'seen'/'p.csv'
    assert main(['predict', str(run), '--tracking', str(games/'0.json'), '--events', str(games/'plays.csv'),
                 '--out', str(out)]) == 0
    # the model has seen these frames, so they are no test
    seen = json.loads((out.parent/'p.metrics.json').read_text())
    assert seen['rows']['seen'] == seen['rows']['total'] > 0 and seen['test'] == {}
    scored,final = (MRTLClassifier.load(run/f) for f in ('scored.mrtl', 'model.mrtl'))
    assert scored.factors_['court'].strength.values != final.factors_['court'].strength.values
    assert final.terms_ == scored.terms_ and len(final.history_)

def test_earlier_frames(games, tmp_path, monkeypatch):
    monkeypatch.setattr('mrtl.basketball.model.shot_rivals', lambda table, rows, inputs: {}) # tried above
    assert main(basketball(games, tmp_path/'run', '--inputs', 'past', n=10)) == 0
    f = xr.open_datatree(tmp_path/'run'/'factors.nc')
    assert {'touch','closing','velocity','shot_clock'} <= set(f.children)

def test_unseen_players_are_pooled(games, games_run, tmp_path):
    text = (games/'3.json').read_text(); plays = pd.read_csv(games/'plays.csv'); plays = plays[plays.GAME_ID == 3]
    log = json.loads(text)
    for e in log['events']:
        for m in e['moments']:
            for r in m[5]: r[1] = r[1] if r[1] < 0 else r[1]+500
    (tmp_path/'g.json').write_text(json.dumps(log))
    plays.assign(PLAYER1_ID=plays.PLAYER1_ID+500).to_csv(tmp_path/'p.csv', index=False)
    assert main(['predict', str(games_run), '--tracking', str(tmp_path/'g.json'), '--events', str(tmp_path/'p.csv'),
                 '--out', str(tmp_path/'out'/'p.csv')]) == 0
    m = json.loads((tmp_path/'out'/'p.metrics.json').read_text()); assert m['rows']['pooled'] == m['rows']['total'] > 0

def test_a_split_by_frame_is_called_leaky(games, tmp_path, capsys):
    assert main(basketball(games, tmp_path/'run', '--split', 'frame', '--model', 'paper', '--rank',
                           '2')) == 0 and 'leaky' in capsys.readouterr().out
    assert (json.loads((tmp_path/'run'/'metrics.json').read_text())['leaky']
            and 'Leaky' in (tmp_path/'run'/'report.html').read_text())

def test_too_few_games_for_a_split(games, tmp_path, capsys):
    assert main(basketball(games, tmp_path/'run', n=2)) == 2 and 'lack a class' in capsys.readouterr().err
