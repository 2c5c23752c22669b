"""A reader's own data: `mrtl fields` and `mrtl events` from files to a run, a dry run, a forecast, and what they
refuse."""
import json, shutil
from types import SimpleNamespace
import numpy as np, pandas as pd, pytest, xarray as xr
from mrtl.cli import main
from mrtl.core import ConfigError, DataError, FormatError
from mrtl.designs import Mode
from mrtl.estimators import MRTLClassifier, MRTLRegressor
from mrtl.grids import Grid
from mrtl.own_events import check_memory
from mrtl.own_fields import Asked, own_problem
from mrtl.runfiles import read_own_prep, read_predictions
from mrtl.store import load_tensors, save_tensors

H,W = 6,8
RNG = np.random.default_rng(0)

def fields(times, name='sst', seed=0, lat='lat', lon='lon'):
    "Smooth noise with a season of its own in every cell."
    rng = np.random.default_rng(seed); n = len(times); season = np.cos(2*np.pi*(times.day_of_year.values-20)/365.25)
    x = rng.normal(size=(n, H, W)).cumsum(1)/2+3*season[:,None,None]*rng.normal(size=(H, W))
    return xr.DataArray(x.astype('f4'), {'time': times, lat: np.arange(H)*10.-25, lon: np.arange(W)*10.+5},
                        ('time',lat,lon), name, dict(units='K'))

def signal(da, lead):
    "What a response can know: the mean of a corner, without its season, that many steps before."
    v = da.values[:,1:3,2:5].mean((1,2))
    u = np.cos(2*np.pi*da.time.dt.day_of_year.values/365.25)
    B = np.stack([np.ones_like(u), u, np.sqrt(1-u**2)*np.sign(np.sin(2*np.pi*da.time.dt.day_of_year.values/365.25))], 1)
    return np.roll(v-B@np.linalg.lstsq(B, v, rcond=None)[0], lead)

@pytest.fixture(scope='module')
def files(tmp_path_factory):
    "Monthly and daily fields, and tables of what follows from them; the first months have none."
    d = tmp_path_factory.mktemp('own')
    m,t = pd.date_range('1990-01-01', periods=180, freq='MS'),pd.date_range('2000-01-01', periods=420)
    sst,dust = fields(m),fields(t, 'dust', 1)
    sst.to_netcdf(d/'sst.nc'); sst.to_zarr(d/'sst.zarr')
    dust.to_netcdf(d/'dust.nc'); sst[-3:].to_netcdf(d/'last.nc')
    dust[-2:].to_netcdf(d/'days.nc')
    s = signal(sst, 1)
    flow = 50+8*np.cos(2*np.pi*m.month.values/12)+3*s+.3*RNG.normal(size=180)
    two = -2*s+.3*RNG.normal(size=180); two[5] = np.nan
    frame = pd.DataFrame(dict(month=m.strftime('%Y-%m'), flow=flow, other=two,
                              state=np.where(s+.2*RNG.normal(size=180)>0, 'wet', 'dry'),
                              cases=RNG.poisson(np.exp(1.5+.8*s/s.std())), year=m.year,
                              third=np.array(['a','b','c'])[np.digitize(s/s.std(), [-.4,.4])],
                              level=np.digitize(s/s.std(), [-.4,.4])))[2:]
    frame.to_csv(d/'flow.csv', index=False)
    frame.assign(month=pd.to_datetime(frame.month)).set_index('month')[['flow']].rename_axis('time').to_xarray().to_netcdf(d/'flow.nc')
    frame[-1:].assign(month='2005-01', flow=55.).to_csv(d/'next.csv', index=False)
    pd.DataFrame(dict(date=t.strftime('%d.%m.%Y'), visits=20+5*np.cos(2*np.pi*t.day_of_year.values/365.25)
                      +3*signal(dust, 0)+.5*RNG.normal(size=420))).to_csv(d/'visits.csv', index=False)
    return d

@pytest.fixture(autouse=True)
def pictures(request):
    "No report, but where it is about one."
    if 'report' not in request.node.name: request.getfixturevalue('no_pictures')

def command(files, out, *more, fields='sst.nc', target='flow.csv', column='flow', leads='2'):
    return ['fields', '--fields', *[str(files/f) for f in fields.split()], '--target', str(files/target),
            *(['--column', *column.split()] if column else []), *(['--leads', leads] if leads else []),
            '--out', str(out), *more]

def metrics(run): return json.loads((run/'metrics.json').read_text())

@pytest.fixture(scope='module')
def run(files):
    out = files/'run'; assert main(command(files, out)) == 0
    return out

# ---- fields

def test_from_files_to_a_report(files, run):
    assert {'model.mrtl','scored.mrtl','factors.nc','coefficients.nc','history.csv','metrics.json','config.json',
            'predictions.csv','prep.mrtl','report.html','finished.json'} == {f.name for f in run.iterdir()}
    m = metrics(run)
    assert (set(m['baselines']) == {'climatology','ridge','eof_ridge','laplacian_ridge'} and m['test']['r2']>.8
            and m['baselines']['climatology']['test']['r2'] == 0)
    p = read_predictions(run, m['rows']['total'])
    assert list(p) == ['sample','prediction','std','lower','upper','truth','set']
    # the target's own units
    frame = pd.read_csv(files/'flow.csv').set_index('month').flow
    np.testing.assert_allclose(p.set_index('sample').truth, frame[p['sample']], atol=1e-9)
    inside = p[p.set=='test']
    assert ((inside.truth>inside.lower)&(inside.truth<inside.upper)).mean()>.8 and (p['std']>0).all()
    page = (run/'report.html').read_text(); assert 'aligned: 178 samples' in page and 'laplacian_ridge' in page

def test_a_dry_run_writes_nothing(files, tmp_path, capsys):
    assert main(command(files, tmp_path/'run', '--dry-run')) == 0 and not (tmp_path/'run').exists()
    said = capsys.readouterr().out
    for text in ('sst on 6x8 cells, 180 times from 1990-01 to 2004-12, one every month',
                 'target: flow (regression)', '178 samples from 1990-03 to 2004-12', 'the 2 months before it',
                 'mean of each calendar month', 'method evidence', 'nothing was written'):
        assert text in said

def test_coming_back(files, run, capsys):
    stamp = (run/'metrics.json').stat().st_mtime_ns
    assert main(command(files, run)) == 2 and '--resume' in capsys.readouterr().err
    assert main(command(files, run, '--resume')) == 0 and 'nothing to do' in capsys.readouterr().out
    assert (main(command(files, run, '--resume', leads='3')) == 2 and 'another leads' in capsys.readouterr().err
            and (run/'metrics.json').stat().st_mtime_ns == stamp)

def test_a_lost_file_is_made_again_to_the_same_bits(files, run, tmp_path):
    again = tmp_path/'again'; shutil.copytree(run, again)
    (again/'prep.mrtl').unlink()
    assert main(command(files, again, '--resume')) == 0
    assert (again/'predictions.csv').read_bytes() == (run/'predictions.csv').read_bytes()
    a,b = (read_own_prep(r) for r in (again, run))
    assert a.meta == b.meta and all(a.tensors[k].nan_to_num().equal(b.tensors[k].nan_to_num()) for k in b.tensors)

def test_a_forecast_from_the_last_leads(files, run, tmp_path, capsys):
    out = tmp_path/'p.csv'; assert main(['predict', str(run), '--fields', str(files/'last.nc'), '--out', str(out)]) == 0
    said = capsys.readouterr().out; assert 'forecast of 2005-01 from the fields of 2004-11 to 2004-12' in said
    p = pd.read_csv(out).set_index('sample')
    assert list(p.index) == ['2004-12','2005-01'] and p.set.tolist() == ['seen','forecast'] and p.truth.isna().all()
    assert p.lower.iloc[1]<p.prediction.iloc[1]<p.upper.iloc[1] and 35<p.prediction.iloc[1]<80
    m = json.loads((tmp_path/'p.metrics.json').read_text())
    assert m['rows'] == dict(total=2, seen=1, new=0,
                             forecast=1) and m['test'] == {} and m['forecast'] == {'2005-01': ['2004-11','2004-12']}

def test_a_truth_that_came_later_is_scored(files, run, tmp_path):
    out = tmp_path/'p.csv'
    assert main(['predict', str(run), '--fields', str(files/'last.nc'), '--target', str(files/'next.csv'),
                 '--out', str(out)]) == 0
    p = pd.read_csv(out); assert p.set.tolist() == ['seen','new'] and p.truth.tolist()[1] == 55.
    m = json.loads((tmp_path/'p.metrics.json').read_text()); assert abs(m['test']['mae']-abs(55-p.prediction[1]))<1e-6

def test_daily_fields_of_the_same_day(files, tmp_path):
    run = tmp_path/'run'
    assert main(command(files, run, '--method', 'sgd', '--season', 'day', fields='dust.nc', target='visits.csv',
                        column=None, leads=None)) == 0
    assert metrics(run)['test']['r2']>.5 and read_own_prep(run).meta['season'] == 'day'
    # from the errors of validation rows
    p = read_predictions(run); v = p[p.set=='test']
    assert ((v.truth>v.lower)&(v.truth<v.upper)).mean()>.85 and p['std'].nunique() == 1
    assert (main(['predict', str(run), '--fields', str(files/'days.nc'), '--out', str(tmp_path/'p.csv')]) == 0
            and pd.read_csv(tmp_path/'p.csv')['sample'].tolist() == ['2001-02-22','2001-02-23'])

def test_several_outputs_with_gaps(files, tmp_path):
    run = tmp_path/'run'; assert main(command(files, run, '--method', 'sgd', column='flow other')) == 0
    p = read_predictions(run)
    assert (p.output.unique().tolist() == ['flow','other'] and p.truth.isna().sum() == 1
            and len(metrics(run)['test']['r2_by_output']) == 2)
    assert main(['predict', str(run), '--fields', str(files/'last.nc'), '--target', str(files/'next.csv'), '--out',
                 str(tmp_path/'p.csv')]) == 0
    q = pd.read_csv(tmp_path/'p.csv'); assert len(q) == 4 and q.output.tolist() == ['flow','other']*2

@pytest.mark.parametrize('column,more,key', [('state', (), 'auc'), ('cases', ('--kind', 'counts'), 'r2')])
def test_classes_and_counts(files, tmp_path, column, more, key):
    run = tmp_path/'run'; assert main(command(files, run, *more, column=column)) == 0
    m = metrics(run); rivals = set(m['baselines']); p = read_predictions(run)
    if column=='state':
        assert (m['test']['auc']>.75 and rivals == {'climatology','eof_logistic'}
                and list(p) == ['sample','prediction','std','lower','upper','p_dry','p_wet','truth','set'])
        assert set(p.prediction) <= {'dry','wet'} and ((p.lower<=p.p_wet)
                                                       &(p.p_wet<=p.upper)).all() and np.allclose(p.p_dry+p.p_wet,
                1) and ((p.p_wet>.5)==(p.prediction=='wet')).all()
    else:
        assert (m['test']['r2']>.15 and rivals == {'climatology','eof_poisson'} and (p.lower>=0).all()
                and (p.lower==p.lower.round()).all())
    assert main(['predict', str(run), '--fields', str(files/'last.nc'), '--target', str(files/'flow.csv'), '--out',
                 str(tmp_path/'p.csv')]) == 0
    q = pd.read_csv(tmp_path/'p.csv'); assert list(q) == list(p) and q.set.tolist() == ['seen','forecast']

@pytest.mark.parametrize('column,more', [('third', ()), ('level', ('--kind', 'ordered', '--method', 'sgd'))])
def test_several_classes_and_ordered_ones(files, tmp_path, column, more):
    run = tmp_path/'run'; assert main(command(files, run, *more, column=column)) == 0
    m = metrics(run); p = read_predictions(run)
    P = p[[k for k in p if k.startswith('p_')]]
    labels = [k[2:] for k in P]
    assert labels == (['a','b','c'] if column=='third' else ['0','1','2']) and np.allclose(P.sum(1),
            1) and (np.array(labels)[P.values.argmax(1)]==p.prediction).all()
    assert (set(m['baselines']) == {'climatology','eof_logistic'}
            and m['test']['log_loss']<m['baselines']['climatology']['test']['log_loss']
            and ('rpss' in m['test']) == (column=='level') and m['test'].get('rpss', 1)>0)
    assert main(['predict', str(run), '--fields', str(files/'last.nc'), '--target', str(files/'flow.csv'), '--out',
                 str(tmp_path/'p.csv')]) == 0
    q = pd.read_csv(tmp_path/'p.csv', dtype=str)
    assert list(q) == list(p) and q.set.tolist() == ['seen','forecast'] and set(q.prediction) <= set(labels)

def test_zarr_netcdf_and_memory_give_the_same_problem(files):
    a = own_problem(files/'sst.nc', files/'flow.csv', ['flow'], Asked(leads=2))
    flow = pd.read_csv(files/'flow.csv')
    series = pd.Series(flow.flow.values, pd.to_datetime(flow.month), name='flow')
    sst = xr.load_dataarray(files/'sst.nc')
    for f,y in ((files/'sst.zarr', files/'flow.nc'), (sst, series), (sst.to_dataset(), series.to_frame()),
                (sst.sortby('lat', ascending=False), series)):
        b = own_problem(f, y, ['flow'], Asked(leads=2))
        assert b.names == a.names and b.design.u.allclose(a.design.u, atol=1e-6)
        np.testing.assert_allclose(b.y, a.y, atol=1e-9)

def test_parquet_is_read_like_csv(files, tmp_path):
    pytest.importorskip('pyarrow'); pd.read_csv(files/'flow.csv').to_parquet(tmp_path/'flow.parquet')
    a,b = (own_problem(files/'sst.nc', t, ['flow'], Asked(leads=2))
           for t in (files/'flow.csv', tmp_path/'flow.parquet'))
    np.testing.assert_array_equal(a.y, b.y)

def test_no_window_crosses_a_hole(files):
    sst = xr.load_dataarray(files/'sst.nc')
    flow = pd.read_csv(files/'flow.csv')
    y = pd.Series(flow.flow.values, pd.to_datetime(flow.month), name='flow')
    p = own_problem(sst.drop_isel(time=100), y, None, Asked(leads=2))
    gone = str(sst.time.values[100])[:7]
    at = [str(t)[:7] for t in sst.time.values[101:103]]
    assert gone not in p.names[:-1] or gone in p.names and not set(at)&set(p.names)
    assert not set(at)&set(p.names) and str(sst.time.values[103])[:7] in p.names
    assert len(p.design)==178-3+(gone in p.names)

def test_whole_groups_are_held_out(files):
    p = own_problem(files/'sst.nc', files/'flow.csv', ['flow'], Asked(leads=2, groups='year'))
    years = {k: set(p.groups[v]) for k,v in p.rows.items()}
    assert not years['train']&years['test'] and not years['train']&years['valid'] and all(years.values())

def test_nothing_is_learnt_from_test_rows(files):
    flow = pd.read_csv(files/'flow.csv')
    y = pd.Series(flow.flow.values, pd.to_datetime(flow.month), name='flow')
    a = own_problem(files/'sst.nc', y, None, Asked(leads=1))
    y2 = y.copy()
    y2[a.times[a.rows['test']]] += 1000
    b = own_problem(files/'sst.nc', y2, None, Asked(leads=1))
    np.testing.assert_array_equal(a.season_y.coef, b.season_y.coef)
    sst = xr.load_dataarray(files/'sst.nc')
    seen = np.unique(a.design.rows.numpy()[a.rows['train']]-1)
    other = np.setdiff1d(np.arange(180), seen)
    sst[other] += 50.
    np.testing.assert_array_equal(a.season_x.coef, own_problem(sst, y, None, Asked(leads=1)).season_x.coef)

def test_gaps(files):
    sst = xr.load_dataarray(files/'sst.nc')
    flow = pd.read_csv(files/'flow.csv')
    y = pd.Series(flow.flow.values, pd.to_datetime(flow.month), name='flow')
    land = sst.copy(); land[:,0,0] = np.nan
    p = own_problem(land, y); assert int((~p.design.grid.mask).sum()) == 1
    land[50:60,2,2] = np.nan
    with pytest.raises(DataError, match='1 of 47 cells .* --gaps climatology'): own_problem(land, y)
    q = own_problem(land, y, None, Asked(gaps='climatology'))
    assert (q.design.u[50:60,0,2,2]==0).all() and any('1 cell with gaps' in s for s in q.said)

BAD = [(dict(column='flaw'), (), "no column 'flaw' (did you mean 'flow'?)"),
       (dict(column=None), (), 'name the column of the target with --column'),
       (dict(fields='gone.nc'), (), 'there is no file'), (dict(), ('--variables', 'sss'), 'sss'),
       (dict(target='visits.csv', column='visits'), (), 'several|values in one step'),
    (dict(), ('--kind', 'count'), "did you mean 'counts'?"), (dict(), ('--method', 'best'), '--method must be'),
    (dict(leads='0'), (), 'leads must be'), (dict(leads='500'), (), 'too few for 500 leads'),
    (dict(), ('--season', 'week'), 'season must be'), (dict(), ('--gaps', 'fill'), 'gaps must be'),
    (dict(), ('--time', 'when'), "no column 'when'"),
    (dict(column='state'), ('--kind', 'regression'), "must hold numbers; row 1 has"),
    (dict(column='other'), ('--kind', 'counts'), 'counts cannot be negative'),
    (dict(), ('--groups', 'decade'), "no column 'decade'"),
    (dict(), ('--covariates', 'yeer'), "did you mean 'year'?"),
    (dict(column='cases'), ('--kind', 'counts', '--exposure', 'other'), 'exposure must be above zero'),
    (dict(), ('--rank', '0'), 'rank must be'), (dict(column='month'), (), 'holds the times')]
@pytest.mark.parametrize('kw,more,says', BAD, ids=[b[2][:20] for b in BAD])
def test_refused(files, tmp_path, capsys, kw, more, says):
    assert main(command(files, tmp_path/'run', *more, **kw)) == 2
    said = capsys.readouterr().err
    assert (any(s in said for s in says.split('|')) and said.startswith('mrtl: ') and said.count('\n') == 1
            and not (tmp_path/'run').exists())

def test_covariates_and_exposure(files, tmp_path, capsys):
    """Counts a day with a weekday and a population beside the map: coefficients, rivals on the same columns, a
    forecast that needs them, too."""
    t = pd.date_range('2000-01-01', periods=420)
    r = np.random.default_rng(3)
    people = np.linspace(1e4, 2e4, 420); sunday = t.day_name()=='Sunday'
    warm = r.normal(size=420)
    s = xr.load_dataarray(files/'dust.nc'); s = signal(s, 0); rate = people*np.exp(-6.5+.2*s/s.std()+.4*sunday+.3*warm)
    table = pd.DataFrame(dict(date=t, cases=r.poisson(rate).astype(float), sunday=np.where(sunday, 'yes', 'no'),
                              warm=warm, people=people))
    table.loc[419,'cases'] = np.nan
    table.to_csv(tmp_path/'c.csv', index=False)
    table[['date','sunday','warm']].to_csv(tmp_path/'beside.csv', index=False)
    ask = lambda out, *beside: ['fields', '--fields', str(files/'dust.nc'), '--target', str(tmp_path/'c.csv'),
                                '--column', 'cases', '--kind', 'counts', '--exposure', 'people', '--covariates',
                                *beside, '--out', str(tmp_path/out)]
    assert main(ask('run', 'sunday', 'warm')) == 0
    c = MRTLRegressor.load(tmp_path/'run'/'model.mrtl').covariates_.to_dataframe()
    assert list(c.index) == ['sunday[yes]','warm'] and (np.abs(c.coef-[.4, .3])<4*c['std']).all()
    m = metrics(tmp_path/'run'); assert m['baselines']['eof_poisson']['test']['r2']>.3 and m['test']['r2']>.3
    assert main(ask('two', str(tmp_path/'beside.csv'))) == 0
    np.testing.assert_array_equal(MRTLRegressor.load(tmp_path/'two'/'model.mrtl').covariates_.coef, c.coef)
    go = ['predict', str(tmp_path/'run'), '--fields', str(files/'days.nc'), '--out', str(tmp_path/'p.csv')]
    capsys.readouterr()
    assert main(go) == 2 and 'give --target TABLE with them' in capsys.readouterr().err
    assert main([*go, '--target', str(tmp_path/'c.csv')]) == 0
    p = pd.read_csv(tmp_path/'p.csv')
    assert list(p.set) == ['seen','forecast'] and (p.lower<p.prediction).all()

def test_events_with_a_covariate(tmp_path):
    r = np.random.default_rng(1); n = 1500
    e = pd.DataFrame(dict(who=r.choice(list('ab'), n), x=r.uniform(0, 9, n), y=r.uniform(0, 6, n),
                          lead=r.normal(size=n)))
    e['goal'] = (r.random(n)<1/(1+np.exp(1-e.lead))).astype(int)
    e.to_csv(tmp_path/'e.csv', index=False); out = tmp_path/'run'
    assert main(['events', '--table', str(tmp_path/'e.csv'), '--label', 'goal', '--index', 'who', '--place',
                 'y,x:4x6', '--covariates', 'lead', '--out', str(out)]) == 0
    c = MRTLClassifier.load(out/'model.mrtl').covariates_; assert abs(float(c.coef[0])-1)<4*float(c['std'][0])
    assert metrics(out)['baselines']['logistic regression']['test']['auc']>.65
    assert main(['predict', str(out), '--table', str(tmp_path/'e.csv'), '--out',
                 str(tmp_path/'p.csv')]) == 0 and len(pd.read_csv(tmp_path/'p.csv')) == n

def test_times_that_do_not_meet(files, tmp_path, capsys):
    pd.read_csv(files/'flow.csv').assign(month=lambda t: t.month.str.replace('19', '18', n=1).str.replace('20',
            '18', n=1)).drop_duplicates('month').to_csv(tmp_path/'old.csv', index=False)
    assert main(['fields', '--fields', str(files/'sst.nc'), '--target', str(tmp_path/'old.csv'), '--column', 'flow',
                 '--out', str(tmp_path/'run')]) == 2
    said = capsys.readouterr().err
    assert 'no time of the target has fields' in said and '180 from 1990-01-01' in said and 'from 1800-01-01' in said

def test_predict_refuses(files, run, tmp_path, capsys):
    other = xr.load_dataarray(files/'last.nc')
    other.rename('sss').to_netcdf(tmp_path/'name.nc')
    other[:,:3].to_netcdf(tmp_path/'part.nc')
    other.assign_attrs(units='mm').to_netcdf(tmp_path/'units.nc')
    other[:1].to_netcdf(tmp_path/'short.nc')
    for name,says in (('name.nc', 'sst'), ('part.nc', 'not cover'), ('units.nc', 'must be in the units of the run'),
                      ('short.nc', 'too few for 2 leads')):
        assert main(['predict', str(run), '--fields', str(tmp_path/name), '--out', str(tmp_path/'p.csv')]) == 2
        assert says in capsys.readouterr().err and not (tmp_path/'p.csv').exists(), name
    assert main(['predict', str(run), '--out', str(tmp_path/'p.csv')]) == 2 and '--fields' in capsys.readouterr().err

@pytest.mark.parametrize('change', [lambda T, m: m.update(season='week'), lambda T, m: m.update(names=[]), lambda T,
                                    m: m.update(months=0), lambda T, m: m.update(reference=[0., 0.]), lambda T,
                                    m: T.pop('x'), lambda T, m: T.update(x=T['x'][:5].contiguous()), lambda T,
                                    m: T.update(y=T['y']/0)])
def test_a_damaged_preparation_is_refused(run, tmp_path, change):
    T,m = load_tensors(run/'prep.mrtl'); T,m = dict(T),dict(m); change(T, m); save_tensors(tmp_path/'prep.mrtl', T, m)
    with pytest.raises(FormatError, match='prep.mrtl'): read_own_prep(tmp_path)

# ---- events

@pytest.fixture(scope='module')
def shots(tmp_path_factory):
    d = tmp_path_factory.mktemp('events')
    n = 900; rng = np.random.default_rng(0)
    t = pd.DataFrame(dict(player=rng.integers(6, size=n), x=rng.uniform(0, 20, n), y=rng.uniform(0, 16, n),
                          game=np.arange(n)//45))
    for k in ('x1','y1','x2','y2'): t[k] = rng.uniform(0, 6, n)
    odds = -1+2*(t.x<8)+.8*(t.player-2.5)/1.7
    t['label'] = (rng.random(n)<1/(1+np.exp(-odds))).astype(int)
    t['goals'] = rng.poisson(np.exp(odds/2))
    t['far'] = odds+rng.normal(size=n)
    t.loc[3, 'x'] = np.nan
    t.to_csv(d/'shots.csv', index=False)
    t[:100].to_csv(d/'some.csv', index=False)
    new = t[:60].drop(columns='label').assign(x=t.x[:60].fillna(1.)/2)
    new.loc[:4, 'player'] = 99
    new.to_csv(d/'new.csv', index=False)
    return d

def events(d, out, *more, table='shots.csv', label='label'):
    return ['events', '--table', str(d/table), '--label', label, '--index', 'player', '--place', 'x,y:10x8',
            '--out', str(out), *more]

def test_events_from_a_table_to_a_report(shots, tmp_path, capsys):
    run = tmp_path/'run'; assert main(events(shots, run, '--groups', 'game')) == 0
    m = metrics(run)
    assert (m['rows']['total'] == 899 and set(m['baselines']) == {'constant','rate by player','logistic regression',
            'logistic regression on splines'}
            and m['test']['auc']>.6 and m['target']['classes'] == ['0','1'])
    p = read_predictions(run)
    assert {'p_0','p_1'} <= set(p) and (run/'scored.mrtl').exists() and 'Term' in (run/'report.html').read_text()
    for name,sets,says in (('some.csv', {'seen'}, '99 rows'), ('new.csv', {'forecast'}, '5 of an unknown player')):
        capsys.readouterr()
        assert main(['predict', str(run), '--table', str(shots/name), '--out', str(tmp_path/name)]) == 0
        assert set(pd.read_csv(tmp_path/name).set) == sets and says in capsys.readouterr().out
    assert main(events(shots, run, '--groups', 'game')) == 2 and main(events(shots, run, '--groups',
            'game', '--resume')) == 0

@pytest.mark.parametrize('kind,more', [('classes', ()), ('ordered', ())])
def test_events_of_several_classes(shots, tmp_path, kind, more):
    "A sum of terms for classes, one product for ordered ones, which a sum does not know."
    run = tmp_path/'run'
    t = pd.read_csv(shots/'shots.csv')
    t['size'] = np.digitize(t.far, [-1, .5])
    t.to_csv(tmp_path/'t.csv', index=False)
    ask = events(tmp_path, run, '--kind', kind, *more, table='t.csv', label='size')
    if kind=='ordered':
        assert main([*events(tmp_path, tmp_path/'no', '--kind', kind, table='t.csv', label='size'),
                     '--terms', 'player']) == 2
    assert main(ask) == 0; m = metrics(run)
    assert (set(m['baselines']) == {'constant','rate by player','logistic regression','logistic regression on splines'}
            and m['test']['log_loss']<m['baselines']['constant']['test']['log_loss']
            and m['target'].items() >= dict(kind=kind, classes=['0','1','2']).items())
    t[:100].drop(columns='far').assign(x=t.x[:100].fillna(1.)/2).to_csv(tmp_path/'new.csv', index=False)
    assert main(['predict', str(run), '--table', str(tmp_path/'new.csv'), '--out', str(tmp_path/'p.csv')]) == 0
    q = pd.read_csv(tmp_path/'p.csv'); assert np.allclose(q[['p_0','p_1','p_2']].sum(1), 1)

def test_a_dry_run_of_events(shots, tmp_path, capsys):
    assert main(events(shots, tmp_path/'run', '--bag', 'x1,y1+x2,y2:6x6',
                       '--dry-run')) == 0 and not (tmp_path/'run').exists()
    said = capsys.readouterr().out
    assert ('900 rows of shots.csv; left out: 1 without x' in said and 'player (6), place (10 x 8, x from 0' in said
            and 'bag (6 x 6, x from ' in said and 'nothing was written' in said)

@pytest.mark.parametrize('label,kind', [('goals','counts'), ('far','regression')])
def test_events_of_other_kinds(shots, tmp_path, label, kind):
    run = tmp_path/'run'
    assert main(events(shots, run, '--kind', kind, label=label)) == 0
    p = read_predictions(run); v = p[p.set=='test']
    assert (((v.truth>=v.lower)&(v.truth<=v.upper)).mean()>.85 and np.isfinite(p['std']).all()
            and metrics(run)['test']['r2']>.1)

def test_the_far_edge_and_what_lies_beyond(shots, tmp_path, capsys):
    pd.DataFrame(dict(player=['a','b']*60, x=[99., 105.]*60, y=[30., 68.]*60,
                      goal=[0,1,1,0]*30)).to_csv(tmp_path/'t.csv', index=False)
    line = lambda *more: ['events', '--table', str(tmp_path/'t.csv'), '--label', 'goal', '--index', 'player',
                          '--out', str(tmp_path/'run'), '--dry-run', *more]
    assert main(line('--place', 'x,y:21x17@0:105,0:68')) == 0
    assert main(line('--place', 'x,y:21x17@0:100,0:68')) == 2 and 'lie outside' in capsys.readouterr().err
    assert main(line('--place', 'x,y:21x17@0:100,0:68', '--outside', 'clip')) == 0

BAD_EVENTS = [(('--place', 'x:4x4'), '--place takes pairs'),
              (('--index', 'plyer'), "no column 'plyer' (did you mean 'player'?)"),
              (('--kind', 'number'), 'kind must be'), (('--terms', 'player,plac'), "did you mean 'place'?"),
              (('--method', 'evidence'), 'terms or sgd'), (('--exposure', 'game'), 'exposure must be above zero'),
              (('--groups', 'match'), "no column 'match'")]
@pytest.mark.parametrize('more,says', BAD_EVENTS, ids=[b[1][:20] for b in BAD_EVENTS])
def test_events_refused(shots, tmp_path, capsys, more, says):
    assert main(events(shots, tmp_path/'run', *more)) == 2; said = capsys.readouterr().err
    assert says in said and said.count('\n') == 1 and not (tmp_path/'run').exists()

class Many:
    "A design of more rows than any memory holds."
    modes = [Mode('player', 5, indexed=True), Mode('place', 80, Grid((10,8)), True)]
    idx = dict(player=np.zeros((1, 1)), place=np.zeros((1, 1)))
    def __len__(self): return 10**12

def test_memory_is_asked_for_before_the_fit():
    with pytest.raises(DataError, match='3 terms on 1,000,000,000,000 rows needs about 1,250,000 GB .* --method sgd'):
        check_memory(SimpleNamespace(design=Many()), [('player',), ('place',), ('player','place')], 3)

@pytest.mark.parametrize('more,says', [
    (('--curve', 'far'), 'has no curves: say --covariates far'), (('--method', 'terms'), 'say --kind classes'),
    (('--terms', 'player'), 'say --kind classes')])
def test_ordered_classes_are_one_product(shots, tmp_path, capsys, more, says):
    "A dry run names what a run would refuse, in the words of the command line."
    t = pd.read_csv(shots/'shots.csv')
    t['size'] = np.digitize(t.far, [-1, .5])
    t.to_csv(tmp_path/'t.csv', index=False)
    ask = ['events', '--table', str(tmp_path/'t.csv'), '--label', 'size', '--kind', 'ordered', '--index', 'player']
    assert main([*ask, '--place', 'x,y:10x8', *more, '--dry-run']) == 2 and says in capsys.readouterr().err
    assert main([*ask, '--dry-run']) == 2 and 'needs a map' in capsys.readouterr().err

def test_places_in_two_units_crowd_into_a_cell(shots, tmp_path, capsys):
    t = pd.read_csv(shots/'shots.csv'); t.loc[t.index%9==0, ['x','y']] *= 100; t.to_csv(tmp_path/'t.csv', index=False)
    ask = ['events', '--table', str(tmp_path/'t.csv'), '--label', 'label', '--index', 'player', '--dry-run']
    assert main([*ask, '--place', 'x,y:10x8']) == 0 and 'lie in one of its 80 cells' in capsys.readouterr().out

def test_rows_without_maps_are_named(files, run, tmp_path, capsys):
    "A prediction says for which rows of its table there are no maps."
    sst = xr.load_dataarray(files/'sst.nc')
    sst.isel(time=[*range(150), *range(151, 180)]).to_netcdf(tmp_path/'hole.nc')
    predict = ['predict', str(run), '--target', str(files/'flow.csv'), '--out', str(tmp_path/'p.csv'), '--fields']
    assert (main([*predict, str(tmp_path/'hole.nc')]) == 0
            and 'no prediction for want of maps' in capsys.readouterr().out)

# ---- what does not fit

def huge(T=20_000):
    "Fields of 300 GB that nobody has written."
    da = pytest.importorskip('dask.array')
    coords = dict(time=pd.date_range('1900-01-01', periods=T),
                  lat=np.linspace(-89.9375, 89.9375, 1440), lon=np.arange(2880)/8)
    return xr.DataArray(da.zeros((T, 1440, 2880), 'i2', chunks=(T, 720, 1440)), coords,
                        ('time','lat','lon'), name='sst')

def test_fields_that_do_not_fit_are_refused_before_they_are_read(tmp_path):
    "Otherwise Linux ends the process without a word."
    huge().to_dataset().to_zarr(tmp_path/'sst.zarr', compute=False, zarr_format=2)
    pd.DataFrame(dict(time=pd.date_range('1900-01-01', periods=900), y=np.arange(900.)%7)).to_csv(tmp_path/'y.csv')
    with pytest.raises(DataError, match='20,000 times x 1 variable x 1,440 x 2,880 cells needs about 796 GB'):
        own_problem(tmp_path/'sst.zarr', tmp_path/'y.csv', ['y'])
