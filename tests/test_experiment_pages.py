"""The pages that redo the paper's experiments: every table is recomputed from the saved files, and every number in
the text is in one of them."""
import json, re
from functools import cache
from html import unescape
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from conftest import ROOT
from mrtl.criteria import CRITERIA
from mrtl.lab.experiments import (CURVE_COLUMNS, STABILITY_COLUMNS, criteria_table, maps_table, method_table,
                                  read_trial_table, speed_table, typeset, variants_table)
from mrtl.lab.search import DRAW_COLUMNS, read_options
from mrtl.lab.setups import TRIAL_METHODS
from mrtl.lab.trials import TRIAL_COLUMNS, settings_row

HERE = ROOT/'nbs'/'reproduction'; SAVED = HERE/'results'/'experiments'
PAGES = dict(basketball=('basketball','events'), climate=('southwest','ocean'),
             ingredients=('basketball','events','southwest','ocean'))
pages = pytest.mark.parametrize('page', ('basketball','climate'))

@cache
def saved(page):
    one = lambda f, columns: pd.concat([read_trial_table(SAVED/p/f, columns) for p in PAGES[page]])
    return one('compare.csv', TRIAL_COLUMNS),one('curves.csv.gz', CURVE_COLUMNS),one('stability.csv', STABILITY_COLUMNS)

def cells(page): return json.loads((HERE/f'{page}.ipynb').read_text())['cells']

def shown(page):
    "Stored tables of a page, as lists of rows of text."
    html = [''.join(o['data']['text/html']) for c in cells(page)
            for o in c.get('outputs', []) if 'text/html' in o.get('data', {})]
    row = lambda r: [unescape(re.sub('<[^>]*>', '', x)).strip()
                     for x in re.findall(r'<t[dh][^>]*>(.*?)</t[dh]>', r, re.S)]
    return [[row(r) for r in re.findall(r'<tr[^>]*>(.*?)</tr>', h, re.S)] for h in html]

def drawn(t):
    with pd.option_context('display.max_colwidth', 60): html = t._repr_html_()
    row = lambda r: [unescape(re.sub('<[^>]*>', '', x)).strip()
                     for x in re.findall(r'<t[dh][^>]*>(.*?)</t[dh]>', r, re.S)]
    return [row(r) for r in re.findall(r'<tr[^>]*>(.*?)</tr>', html, re.S)]

@pages
def test_tables_come_from_the_files(page):
    rows,curves,stability = saved(page)
    first = dict(basketball='basketball', climate='ocean')[page]
    paper = page
    second = [p for p in PAGES[page] if p != first][0]
    of = lambda p: rows[rows.problem == p]
    wanted = [speed_table(curves, [m for m in TRIAL_METHODS if m != 'mrtl']), method_table(rows),
              criteria_table(of(first), paper), criteria_table(of(second)),
        maps_table(of(first), stability), maps_table(of(second), stability)]
    there = shown(page)
    for t in map(typeset, wanted):
        assert drawn(t) in there, f'run reproduction/{page} again: a table differs from the files\n{t}'

def test_variants_come_from_the_files():
    rows,curves,_ = saved('ingredients'); there = shown('ingredients')
    speed = speed_table(curves, ['random_ladder'])
    own = [read_trial_table(SAVED/'ocean_own'/f, c)
           for f,c in (('compare.csv',TRIAL_COLUMNS), ('curves.csv.gz',CURVE_COLUMNS))]
    for t in [speed[speed.stage == 'both'].reset_index(drop=True),
              speed_table(own[1], ['random_ladder','random_smooth','fixed']),
              method_table(own[0]), *(variants_table(rows, p) for p in PAGES['ingredients'])]:
        assert drawn(typeset(t)) in there, f'run reproduction/ingredients again: a table differs from the files\n{t}'
    low = rows[(rows.stage == 'low')&(rows.method == 'mrtl')&(rows.criterion == 'valid_loss')]
    for p in PAGES['ingredients']:
        t = variants_table(rows, p).set_index('variant')
        for v,g in low[(low.problem == p)&(low.variant != '')].groupby('variant'):
            d = [a.valid_loss-low[(low.problem == p)&(low.variant == '')&(low.seed == a.seed)].valid_loss.item()
                 for a in g.itertuples()]
            assert t.valid_loss[v] == pytest.approx(np.mean(d), abs=1e-12) and t.seeds[v] == len(d) >= 5

@pages
def test_numbers_by_hand(page):
    "The tables' functions against plain loops."
    rows,curves,_ = saved(page)
    t = speed_table(curves, [m for m in TRIAL_METHODS if m != 'mrtl']).set_index(['problem','against','stage'])
    c = curves[(curves.variant == '')&(curves.criterion == 'valid_loss')]
    for (p,m,stage),got in t.iterrows():
        ratios = []
        for s in sorted(set(c[(c.problem == p)&(c.method == m)].seed)):
            runs = {}
            for k in ('mrtl', m):
                h = c[(c.problem == p)&(c.method == k)&(c.seed == s)]
                full,own = h[h.stage == 'full'],h[h.stage == ('full' if stage == 'full' else 'low')]
                runs[k] = (own.seconds.values-(full.seconds.max() if stage == 'low'
                                               and len(full) else 0),own.valid_loss.values)
            target = max(v.min() for _,v in runs.values())
            at = {k: t_[v <= target][0] for k,(t_,v) in runs.items()}
            ratios.append(at[m]/at['mrtl'])
        assert got.speed_up == pytest.approx(np.median(ratios)) and got.seeds == len(ratios) >= 10
    plain = rows[(rows.variant == '')&(rows.criterion == 'valid_loss')]
    for r in method_table(rows).itertuples():
        g = plain[(plain.problem == r.problem)&(plain.stage == r.stage)&(plain.method == r.method)]
        assert (r.valid_loss == f'{np.mean(g.valid_loss):.3g} ± {np.std(g.valid_loss, ddof=1):.2g}'
                and r.seeds == len(g) == g.seed.nunique())

@pages
def test_ten_trials_of_everything(page):
    rows,curves,_ = saved(page)
    assert (not rows.error.any() and rows.commit.notna().all() and rows.versions.str.contains('torch').all()
            and (rows.device == 'cpu').all())
    assert not rows.duplicated(['problem','method','criterion','variant','seed','stage']).any()
    for p in PAGES[page]:
        own = rows[(rows.problem == p)&(rows.variant == '')]
        assert {*own.criterion} == {*CRITERIA} and {*TRIAL_METHODS}-{*own.method} <= {'fixed_equal'}
        assert (own.groupby(['method','criterion','stage']).seed.nunique() >= 10).all()
        last = curves[curves.problem == p].groupby(['method','seed']).seconds.max()
        total = own[own.criterion == 'valid_loss'].groupby(['method','seed']).seconds.sum()
        np.testing.assert_allclose(last, total.reindex(last.index), rtol=1e-3)

@pages
def test_settings_are_those_that_were_found(page):
    rows,_,_ = saved(page)
    found = read_options(SAVED/'options.json')
    draws = read_trial_table(SAVED/'search.csv', DRAW_COLUMNS)
    for p in PAGES[page]:
        for m,o in found[p].items():
            d = draws[(draws.problem == p)&(draws.method == m)]
            best = d.loc[d.valid_loss.idxmin()]
            assert (best.number == 0) == (o == {}), 'draw 0 is the package itself'
            for k,v in settings_row(o).items(): assert best[k] == pytest.approx(v, rel=1e-4)
        assert draws[draws.problem == p].groupby('method').size().nunique() == 1, 'equal budgets'
        for m in ('mrtl','fixed'):
            for k,v in settings_row(found[p][m]).items():
                assert np.allclose(rows[(rows.problem == p)&(rows.method == m)&(rows.variant == '')][k],
                                   v, rtol=1e-4), (p, m, k)

@pytest.mark.parametrize('page', PAGES)
def test_numbers_of_the_text(page):
    """Every decimal number in the prose is one in a table of the page, to the digits given; those of the paper and
    of settings are in its own tables or between backticks."""
    known = [float(x) for t in shown(page) for r in t for c in r for x in re.findall(r'-?\d*\.?\d+(?:e[-+]?\d+)?', c)]
    for c in cells(page):
        if c['cell_type'] != 'markdown': continue
        text = re.sub(r'`[^`]*`|\$[^$]*\$|\]\([^)]*\)', ' ', ''.join(c['source']))
        for x in re.findall(r'(?<![\w.])-?\d*\.\d+', text):
            digits = len(x.split('.')[1])
            assert any(abs(abs(v)-abs(float(x))) <= .5001*10**-digits
                       for v in known), (f'{x} of reproduction/{page} is in no table: '
                                         f'{text[max(0, text.find(x)-60):text.find(x)+40]}')

def test_maps_are_those_of_the_trials():
    for p in ('basketball','ocean','southwest'):
        d = xr.load_dataset(SAVED/p/'maps.nc')
        assert (d.attrs['seed'] == 0 and d.attrs['commit']
                and {'mrtl','random','random_smooth','fixed'} <= {*d.way.values})
        for k in d.data_vars.keys()&{'court','defender','space'}:
            assert np.abs(d[k]).max() == 127 and d[k].dtype == 'int8'
        assert (np.diff(d.strength.sel(way='mrtl')) <= 0).all()
