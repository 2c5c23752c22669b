"Every call of the list in `bad_inputs.py` ends as it should, and the page of the docs says so in the same words."
import re
import numpy as np, pytest
import bad_inputs as bad

CASES = [(group, case) for group,cases in bad.CASES.items() for case in cases]
# What to do
REMEDY = r"\b(must|needs?|use|give|name|drop|leave|sort|take|transpose|regrid|check|correct|convert|fill|mask|set|pass|write|fetch|download|choose|lower|add|align|make|clip|replace|fit|call|order|reshape|load|run|multiply|keep|rename)\b"
# or what would have been right
ALLOWED = r'\b(takes|like|from|at least|at most|is for|belongs? to|looks at|the settings are|usage|expected|expecting|required|valid parameters|supported|only|south below north)\b|error:'

def own_words(text): return re.sub(r'\([^()|]*\)', '()', text) # what another library said stands in brackets

@pytest.fixture(scope='module')
def known(): return bad.names()

@pytest.fixture(scope='module')
def folder(tmp_path_factory, demo_run):
    "A working folder with the files that the calls name."
    d = tmp_path_factory.mktemp('bad'); (d/'run').symlink_to(demo_run)
    return d

@pytest.fixture(scope='module')
def page(): return bad.stored()

@pytest.mark.parametrize('group,case', CASES, ids=[f'{g}: {c.given}'.replace('`', '') for g,c in CASES])
def test_a_call(known, folder, page, monkeypatch, group, case):
    monkeypatch.chdir(folder); kind,words,left = bad.answer(case, known, folder)
    assert kind==case.error, f'{kind}: {words}'
    if kind=='right':
        np.testing.assert_allclose(np.asarray(words, float),
                                   np.asarray(eval(case.says, known), float), rtol=1e-7, atol=1e-7)
    else:
        said = words.strip().splitlines()[-1] if kind.startswith('exit') else words
        assert all(t in said for t in case.says.split('|')), said
        assert len(said)>25 and 'Traceback' not in words and not left, (said, left)
        # scikit-learn has its own words
        assert kind=='ValueError' or re.search(f'{REMEDY}|{ALLOWED}', said, re.I), f'what is to be done? {said}'
        if kind.startswith('exit'): assert 'mrtl' in said.split(':')[0]
    line = bad.row(case, kind, words); shown = next(s for _,s in page if s.startswith(f'### {group}\n'))
    if kind=='ValueError': line = line.partition(': ')[0] # scikit-learn's words may change
    assert '\n'+own_words(line) in own_words(shown), f'the page is stale: python tests/bad_inputs.py\n{line}'

def test_the_page_has_these_calls_and_no_others(page):
    rows = {g: [None]*len(c) for g,c in bad.CASES.items()}; want = list(bad.cells({g: [] for g in rows}))
    assert ([k for k,_ in page]==[k for k,_ in want]
            and page[:4]==want[:4]), 'the page is stale: python tests/bad_inputs.py'
    for (_,source),group in zip(page[4:], rows):
        assert source.startswith(f'### {group}\n') and source.count('\n| ')==1+len(rows[group])

def test_there_are_many(): assert len(CASES)>=120 and len({c.call for _,c in CASES})==len(CASES)
