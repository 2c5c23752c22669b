"""What one page cannot show of mrtl.tables and mrtl.report: odd text, other kinds of run, and that a page needs
nothing but itself."""
import json, re
from html.parser import HTMLParser
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from mrtl import report, tables
from mrtl.core import DataError
from small_fits import CASES, small_fit

VOID = {'meta','img','br','hr'}

class Page(HTMLParser):
    "Parse a page, checking that every tag is closed in order; keep text, attributes and tables."
    def __init__(self, text):
        super().__init__(); self.open,self.tags,self.attrs,self.text,self.rows = [],[],[],[],[]
        self.feed(text); self.close(); assert not self.open, f'left open: {self.open}'
    def handle_starttag(self, tag, attrs):
        self.tags.append(tag); self.attrs += attrs
        if tag not in VOID: self.open.append(tag)
        if tag=='tr': self.rows.append([])
        if tag in ('td','th'): self.rows[-1].append('')
    def handle_endtag(self, tag): assert self.open.pop()==tag
    def handle_data(self, data):
        if not {'style','title'} & set(self.open): self.text.append(data)
        if {'td','th'} & set(self.open): self.rows[-1][-1] += data

def make_run(k=2, leads=2):
    r = np.random.default_rng(0); lat,lon = np.arange(-15,61,15.),np.arange(190,350,20.)
    factors = xr.Dataset(dict(space=(('lat','lon','component'), r.normal(size=(len(lat),len(lon),k))),
                              lead_loading=(('lead','component'), r.normal(size=(leads,k))),
                              strength=('component', np.arange(k,0,-1.))),
        coords=dict(lat=lat, lon=lon, lead=np.arange(1,leads+1), component=np.arange(1,k+1)))
    levels = [dict(stage='full', level='2x3', epochs=3, seconds=.3, start_loss=1., first_loss=.9, best_loss=.7,
                   jump=None, cp_error=None, stopped_by='criterion', sigma={'space':.3}, valid=True),
        dict(stage='low', level='4x6', epochs=3, seconds=.9, start_loss=.7, first_loss=.65, best_loss=.51234,
             jump=1e-17, cp_error=.0625, stopped_by='cap', sigma={'space':.15}, valid=True)]
    history = pd.DataFrame([dict(stage=l['stage'], level=l['level'], epoch=e, seconds=i+e/3, train_loss=v,
                                 valid_loss=v, criterion=v, stopped_by='') for i,l in enumerate(levels)
                            for e,v in enumerate((l['start_loss'],l['first_loss'],l['best_loss']))])
    return dict(factors=factors, history=history, levels=levels,
                metrics=dict(test=dict(r2=.5, mse=.5)), config=dict(rank=k))

def write(tmp_path, title='a run', **kw):
    path = report.write_report(tmp_path/'sub'/'report.html', title, **(make_run() | kw))
    return path.read_text(encoding='utf-8')

@pytest.fixture
def blank(monkeypatch):
    "Pictures are composed but not painted: for what is not about them."
    monkeypatch.setattr(report, 'png', lambda fig, dpi: b'')

def test_a_page_needs_nothing_but_itself(tmp_path):
    run = make_run(); y = np.random.default_rng(0).normal(size=30)
    text = write(tmp_path, coef=(run['factors'].space*run['factors'].lead_loading).sum('component').transpose('lead','lat','lon'), truth=run['factors'], y=y, yhat=y*.5, histories={'a':run['history'],'b':run['history']}, notes=['one'])
    page = Page(text)
    assert not {'script','link','iframe','object','embed','form','video','audio'} & set(page.tags)
    assert not [k for k,_ in page.attrs if k.startswith('on')] and not re.search(r'url\(|@import|https?:|//',
            re.sub(r'"data:[^"]*"', '', text))
    assert all(v.startswith('data:image/png;base64,')
               for k,v in page.attrs if k in ('src','href','srcset')) and page.tags.count('img')==7
    assert "default-src 'none'" in dict(page.attrs)['content'] or any("default-src 'none'" in str(v)
            for k,v in page.attrs if k=='content')
    assert [k for k,_ in page.attrs].count('alt')==page.tags.count('img')

ODD = ['<script>alert(1)</script>', '"><img src=x onerror=y>', "a & b 'c' \"d\"", '</style></title>', '日本語 °C',
       '{braces} %s \\n', '<!-- no', '&lt;']
@pytest.mark.parametrize('odd', ODD)
def test_any_text_stays_text(tmp_path, odd):
    run = make_run(); run['factors'] = run['factors'].assign_coords(lead=[odd,'b'])
    run['metrics'] = dict(test=dict(r2=.5), baselines={odd:dict(r2=.1)},
                          compare=[dict(name=odd, seconds=1.)], versions={odd:odd})
    text = write(tmp_path, **run | dict(title=odd, notes=[odd], config={odd:odd, 'nested':{'k':[odd]}}))
    page = Page(text)
    assert {'script','img'} & set(page.tags) <= {'img'} and page.tags.count('img')==3
    assert ''.join(page.text).count(odd)>=7, 'the text must be seen as it was given'

def test_scores_of_models_and_baselines_stand_in_one_table(blank, tmp_path):
    metrics = dict(valid=dict(r2=.25, mae=.5), test=dict(r2=.125, mae=.75, r2_by_output={'IA':.25,'OH':0.}),
                   baselines={'split':dict(valid=dict(r2=.5, mae=1.), test=dict(r2=.0625, mae=2.)),
                              'flat':dict(r2=-1., mae=float('nan'))}, rows=dict(train=10, total=12345))
    page = Page(write(tmp_path, metrics=metrics))
    assert ['model','valid r2','valid mae','test r2','test mae'] in page.rows
    assert (['this model','0.250','0.500','0.125','0.750'] in page.rows
            and ['split','0.500','1.000','0.0625','2.000'] in page.rows and ['flat','–','–','-1.000','–'] in page.rows)
    assert ['IA','0.250'] in page.rows and ['OH','0'] in page.rows
    text = ''.join(page.text); assert 'R2: the share' in text and 'AUC' not in text and '12,345' in text

@pytest.mark.parametrize('higher,metric', [(True,'auc'), (True,'average_precision'), (False,'log_loss'),
                                           (False,'brier'), (True,'f1'), (True,'r2'), (False,'mse')])
def test_the_best_is_the_best(higher, metric):
    rows = tables.score_table(dict(test={metric:.3}, baselines={'a':{metric:.4}, 'b':dict(test={metric:.2}),
            'c':{metric:float('nan')}}))
    assert tables.best_cells(rows)==[(1 if higher else 2,f'test {metric}')]

def test_no_contest_no_winner():
    assert tables.best_cells(tables.score_table(dict(test=dict(r2=.3))))==[]
    assert tables.best_cells(tables.score_table(dict(test=dict(r2=float('nan')),
            baselines={'a':dict(r2=.1), 'b':dict(r2=.2)})))==[(2,'test r2')]

def test_levels_say_how_they_ended(blank, tmp_path):
    for levels in (make_run()['levels'], pd.DataFrame(make_run()['levels'])):
        page = Page(write(tmp_path, levels=levels))
        assert ['full','2x3','3','0.300','1.000','0.900','0.700','–','–','0.300','its criterion'] in page.rows
        assert ['low','4x6','3','0.900','0.700','0.650','0.512','0','0.0625','0.150','the cap of epochs'] in page.rows

def test_recovery_and_comparison(blank, tmp_path):
    run = make_run(); run['levels'][1]['map_correlation'] = .875
    metrics = dict(test=dict(r2=.5), recovery=dict(factor_match=.96875, map_correlation=[.5,.875], truth_r2=.75),
                   compare=[dict(name='MRTL', seconds=12., valid_loss=.25, test_r2=.5, factor_match=.9),
                            dict(name='random', seconds=12., valid_loss=.5)])
    page = Page(write(tmp_path, **run | dict(metrics=metrics, truth=run['factors'])))
    assert (['factor match','truth r2'] in page.rows and ['0.969','0.750'] in page.rows
            and ['0.500','0.875'] in page.rows)
    assert (['name','seconds','valid loss','test r2','factor match'] in page.rows
            and ['random','12.0','0.500','–','–'] in page.rows)
    assert any('map correlation' in r for r in page.rows) and 'Against the planted truth' in page.text

def test_the_planted_truth_is_a_ceiling_not_a_rival(tmp_path):
    metrics = dict(test=dict(r2=.5), baselines={'planted truth':dict(r2=.7), 'ridge':dict(r2=.4)})
    assert tables.best_cells(tables.score_table(metrics))==[(0,'test r2')] and tables.highlights(metrics,
            [1])[1]==('best baseline (ridge)',.4)

def test_correlation_by_level_joins_the_levels(blank, tmp_path):
    run = make_run()
    page = Page(write(tmp_path, **run
                      | dict(metrics=dict(test=dict(r2=.5),
                                          recovery=dict(factor_match=.9,
            map_correlation_by_level={'full 2x3':.5, 'low 4x6':.875})))))
    assert 'map correlation' in next(r for r in page.rows if 'grid' in r)
    assert [r[-2] for r in page.rows
            if r[:2] in (['full','2x3'],['low','4x6'])]==['0.500','0.875'] and 'map_correlation' not in run['levels'][0]

@pytest.mark.parametrize('jump,text', [(1e-8,'0'), (-1e-8,'0'), (1e-3,'0.001'), (-.02,'-0.02'), (None,'–'), (0.,'0')])
def test_jumps_are_told_from_rounding(jump, text):
    assert tables.as_text(tables.level_rows([dict(stage='low', level='a', start_loss=.5, jump=jump,
                                                  stopped_by='cap')])[0].get('jump on arrival'))==text

def test_labels_are_not_drawn_as_a_scatter(blank, tmp_path):
    y = np.tile([0,1.],20)
    assert Page(write(tmp_path, y=y, yhat=y*.5, metrics=dict(test=dict(auc=.75)))).tags.count('img')==3
    assert Page(write(tmp_path, y=y+np.arange(40), yhat=y)).tags.count('img')==4

def test_a_run_without_validation(blank, tmp_path):
    run = make_run(); run['history']['valid_loss'] = np.nan
    for l in run['levels']: l['valid'] = False
    assert Page(write(tmp_path, **run)).tags.count('img')==3

@pytest.mark.parametrize('n,images', [(60,4), (61,3)])
def test_too_many_coefficients_are_said_not_drawn(blank, tmp_path, n, images):
    page = Page(write(tmp_path, coef=xr.DataArray(np.ones((3,4,n)), dims=('lat','lon','output'))))
    assert page.tags.count('img')==images
    assert any('61 maps' in t for t in page.text)==(n==61)

@pytest.mark.parametrize('name', ['factors','history','levels'])
def test_missing_parts_are_named_and_nothing_is_left(tmp_path, name):
    with pytest.raises(DataError, match=name): write(tmp_path, **{name:None})
    with pytest.raises(DataError, match=name):
        write(tmp_path, **{name:[] if name=='levels' else make_run()[name].head(0)
                           if name=='history' else xr.Dataset()})
    assert not list(tmp_path.rglob('*.*'))

def test_a_failed_rewrite_keeps_the_old_page(blank, tmp_path):
    before = write(tmp_path)
    with pytest.raises(DataError): write(tmp_path, history=make_run()['history'].drop(columns='seconds'))
    path = tmp_path/'sub'/'report.html'
    assert path.read_text(encoding='utf-8')==before and list(path.parent.iterdir())==[path]

def test_a_page_appears_whole_or_not_at_all(blank, tmp_path, monkeypatch):
    before = write(tmp_path); path = tmp_path/'sub'/'report.html'
    def refuse(*args): raise OSError('disk full')
    monkeypatch.setattr('os.replace', refuse)
    with pytest.raises(OSError, match='disk full'): write(tmp_path, title='another')
    assert path.read_text(encoding='utf-8')==before and list(path.parent.iterdir())==[path]

def test_names_of_files_that_are_no_text(blank, tmp_path):
    assert r'\udcff.nc' in write(tmp_path, config=dict(file='\udcff.nc'))

def test_the_same_run_gives_the_same_page(tmp_path): assert write(tmp_path)==write(tmp_path)

@pytest.mark.parametrize('v,text', [(0.,'0'), (0,'0'), (-.5,'-0.500'), (.0625,'0.0625'), (12.34,'12.3'),
                                    (999.9,'1,000'), (9.9999,'10.0'), (-123.4,'-123'), (1234.5,'1,234'),
                                    (np.int64(7),'7'), (np.float64('inf'),'–'), (np.bool_(False),'no'), ('x','x'),
                                    ({'a':1.5},'a 1.500'), ((4,9),'[4, 9]')])
def test_numbers_as_text(v, text): assert tables.as_text(v)==text

# ---- any fitted model: both ways, one output and several, labels, counts, and nothing to be found

@pytest.fixture(scope='module', params=CASES, ids=lambda c: '-'.join(c))
def fit(request): return small_fit(*request.param)

def page_of(folder, fit, **kw):
    "The page of a fitted model alone: no metrics, no configuration."
    path = report.write_report(folder/'fit.html', 'a fit',
                               **dict(factors=fit.factors, history=fit.history, levels=fit.levels, coef=fit.coef,
                                      coef_std=fit.std, y=fit.y, yhat=fit.yhat) | kw)
    return Page(path.read_text(encoding='utf-8'))

def test_a_page_of_any_fit(blank, tmp_path, fit):
    page = page_of(tmp_path, fit); text = ' '.join(page.text); labels = len(np.unique(fit.y))==2
    assert page.tags.count('img')==4+(not labels) and page.tags.count('h2')==5 and 'nan' not in text.lower().split()
    by_evidence = 'evidence' in fit.history
    assert (('fitted by evidence' in text)==by_evidence and ('finegraining' in text)==(not by_evidence)
            and ('hatched' in text)==by_evidence)
    header = next(r for r in page.rows if 'weight' in r or 'ended by' in r)
    assert ('log evidence' in header)==by_evidence and ('output' in header)==(by_evidence
            and fit.coef.dims[-1]=='output')
    assert ['this model'] == [r[0] for r in page.rows if r[0]=='this model'] and ('given auc' if labels
            else 'given r2') in next(r for r in page.rows if r[0]=='model')

def test_a_page_of_saved_tables_is_the_same(blank, tmp_path, fit):
    "History from a CSV file and levels from JSON, as a run's folder holds them."
    fit.history.to_csv(tmp_path/'h.csv', index=False); (tmp_path/'l.json').write_text(json.dumps(fit.levels))
    back = dict(history=pd.read_csv(tmp_path/'h.csv', keep_default_na=False, na_values=['']),
                levels=json.loads((tmp_path/'l.json').read_text()))
    alone = dict(y=None, yhat=None, coef=None); page = page_of(tmp_path, fit, **alone)
    assert (page_of(tmp_path, fit, **alone, **back).text == page.text
            and 'No rows were scored for this page.' in page.text and page.tags.count('img')==3)

def test_pictures_of_any_fit_are_painted(tmp_path):
    "A page by evidence with its pictures; pages by gradients are painted further up."
    page = page_of(tmp_path, small_fit('evidence', 'one')); assert all(len(v)>3000 for k,v in page.attrs if k=='src')

def test_nothing_found_is_said(blank, tmp_path):
    fit = small_fit('evidence', 'nothing'); assert sum(l['weight'] for l in fit.levels)==0
    assert any('The maps are zero: no maps predicted better than the mean.' in t for t in page_of(tmp_path, fit).text)

def test_scores_of_given_rows():
    r = np.random.default_rng(0); y = r.normal(size=(40, 2)); p = .5*y; y[3,0] = np.nan
    got = tables.given_scores(xr.DataArray(y, dims=('time','output'), coords=dict(output=['IA','OH'])), p)['given']
    each = [1-np.sum((a-b)**2)/np.sum((a-a.mean())**2)
            for a,b in ((np.delete(y[:,0], 3), np.delete(p[:,0], 3)), (y[:,1], p[:,1]))]
    np.testing.assert_allclose([got['r2_by_output'][k] for k in ('IA','OH')], each)
    np.testing.assert_allclose(got['r2'], np.mean(each))
    assert tables.given_scores(None,
                               None)=={} and set(tables.given_scores([0,1,1],
            [.2,.7,.9])['given'])=={'auc','log_loss','brier'}
    assert set(tables.given_scores([1,1],
                                   [.7,.9])['given'])=={'log_loss','brier'} and 'r2' in tables.given_scores([0,1,1],
            [-.2,.7,1.9])['given']
    with pytest.raises(DataError, match='same rows'): tables.given_scores([1,2], [1])
    with pytest.raises(DataError, match='nothing to score'): tables.given_scores([np.nan], [1])

def test_an_output_without_maps_may_share_some(blank, tmp_path):
    fit = small_fit('evidence', 'two'); text = ' '.join(page_of(tmp_path, fit).text)
    directions = {l['output'] for l in fit.levels}-{'IA','OH'}
    assert (directions and f'2 outputs and {len(directions)} directions' in text
            and 'may have some from there' in text and 'The maps are zero' not in text)

def test_many_outputs_have_one_row_a_round():
    levels = [dict(output=o, round=i, length=[1.,3.] if i==3 else 2., noise=.5, evidence=-float(o), weight=o/100,
                   jitter=0.) for o in range(21) for i in range(4)]
    rows = tables.round_rows(levels); assert len(rows)==4 and len(tables.round_rows(levels[:40]))==40
    assert rows[3]=={'round':3, 'what':'by component', 'median length (cells)':2., 'median share of noise':.5,
                     'median log evidence':-10., 'mean weight':pytest.approx(.1)}
    assert 'share of noise' not in tables.round_rows([l|dict(noise=1.) for l in levels[:4]])[0]
