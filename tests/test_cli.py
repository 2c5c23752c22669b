"""The commands from files to a folder, on small made-up files; and the demo's figures that a run must reach."""
import json, signal, subprocess, sys, time
import numpy as np, pandas as pd, pytest, xarray as xr
from mrtl.cli import main

@pytest.fixture(scope='module')
def files(tmp_path_factory):
    d = tmp_path_factory.mktemp('files'); rng = np.random.default_rng(0); time = pd.date_range('1950-01', periods=480, freq='MS')
    lat,lon = np.arange(-25., 26, 10),np.arange(-175., -74, 10)
    sst = rng.normal(size=(480, len(lat), len(lon))).cumsum(1).cumsum(2)/5
    xr.Dataset({'sst': (('time','lat','lon'), sst)}, dict(time=time, lat=lat, lon=lon)).to_netcdf(d/'sst.nc')
    signal = np.roll(sst[:,2:4,4:8].mean((1,2)), 1); rain = 3+signal/signal.std()+.5*rng.normal(size=(3, 480))
    xr.Dataset({'precip': (('division','time'), rain)}, dict(division=['0201','0202','2901'], state=('division', ['AZ','AZ','NM']), census_midwest=('division', np.array([0,0,1], 'int8')), time=time)).to_netcdf(d/'rain.nc')
    return d

def command(files, out, *more): return ['climate', '--ocean', str(files/'sst.nc'), '--rain', str(files/'rain.nc'), '--leads', '3', '--rank', '2', '--out', str(out), *more]

@pytest.fixture(scope='module')
def run(files):
    out = files/'run'; assert main(command(files, out, '--region', 'AZ')) == 0
    return out

def test_climate_leaves_its_files(run):
    assert {'model.mrtl','factors.nc','history.csv','metrics.json','config.json','report.html'} <= {f.name for f in run.iterdir()} and not (run/'checkpoint.mrtl').exists()
    m = json.loads((run/'metrics.json').read_text())
    assert {'valid','test','baselines','seconds','levels','rows','versions'} <= set(m) and {'r2','mse','mae'} <= set(m['test']) and {'train','valid','test','total'} <= set(m['rows'])
    assert .4 < m['test']['r2'] < .9 and m['baselines']['climatology']['test']['r2'] == 0.
    assert xr.load_dataset(run/'factors.nc').space.dims == ('lat','lon','component')
    best = [l['best_loss'] for l in m['levels'] if l['stage'] == 'low']; assert all(b <= a*(1+1e-6) for a,b in zip(best, best[1:]))

def test_predict_scores_the_same_months(files, run, capsys):
    out = files/'elsewhere'/'p.csv'
    assert main(['predict', str(run), '--out', str(out), '--ocean', str(files/'sst.nc'), '--rain', str(files/'rain.nc')]) == 0
    new,old = (pd.read_csv(f).set_index('sample') for f in (out, run/'predictions.csv'))
    both = new.join(old[old.set != 'gap'].add_suffix('_old'), how='inner')
    assert len(both) > 300
    np.testing.assert_allclose(both.score, both.score_old, atol=1e-5); np.testing.assert_allclose(both.truth, both.truth_old, atol=1e-5)
    assert main(['predict', str(run), '--out', str(run/'p.csv'), '--ocean', str(files/'sst.nc')]) == 2 and "lies in the run's own folder" in capsys.readouterr().err
    assert main(['predict', str(run), '--out', str(files/'elsewhere'/'q.csv')]) == 2 and '--ocean' in capsys.readouterr().err

def test_report_is_made_again(run):
    before = (run/'report.html').read_text(); (run/'report.html').unlink()
    assert main(['report', str(run)]) == 0 and len((run/'report.html').read_text()) == len(before)

def test_coming_back(files, run, capsys):
    stamp = (run/'metrics.json').stat().st_mtime_ns
    assert main(command(files, run, '--region', 'AZ')) == 2 and '--resume' in capsys.readouterr().err
    assert main(command(files, run, '--region', 'AZ', '--resume')) == 0 and 'nothing to do' in capsys.readouterr().out
    assert main(command(files, run, '--region', 'AZ', '--overwrite', '--window', '2')) == 2 and 'another window' in capsys.readouterr().err
    assert (run/'metrics.json').stat().st_mtime_ns == stamp

def test_several_outputs(files):
    assert main(command(files, files/'by', '--region', 'all', '--by', 'division')) == 0
    m = json.loads((files/'by'/'metrics.json').read_text()); p = pd.read_csv(files/'by'/'predictions.csv')
    assert len(m['test']['r2_by_output']) == 3 and p.output.nunique() == 3

def test_same_seed_same_model(files, run):
    assert main(command(files, files/'again', '--region', 'AZ')) == 0
    assert pd.read_csv(run/'history.csv').valid_loss.equals(pd.read_csv(files/'again'/'history.csv').valid_loss)
    assert (run/'factors.nc').exists() and xr.load_dataset(run/'factors.nc').equals(xr.load_dataset(files/'again'/'factors.nc'))

def test_the_demo_reaches_its_figures(tmp_path):
    assert main(['demo', '--seed', '0', '--out', str(tmp_path/'run')]) == 0
    m = json.loads((tmp_path/'run'/'metrics.json').read_text()); r = m['recovery']; low = [l['best_loss'] for l in m['levels'] if l['stage'] == 'low']
    assert r['factor_match'] >= .9 and r['truth_r2']-m['test']['r2'] <= .04
    assert all(b <= a*(1+1e-6) for a,b in zip(low, low[1:])) and low[-1] < .99*low[0]                     # no level makes things worse, and the finer ones earn their place
    maps = list(r['map_correlation_by_level'].values())
    assert all(b > a-.005 for a,b in zip(maps, maps[1:])) and maps[-1] > maps[1]+.05
    assert np.mean([l['stopped_by'] == 'criterion' for l in m['levels']]) >= .8
    assert {c['method'] for c in m['compare']} == {'multiresolution', 'fixed resolution', 'random start'}
