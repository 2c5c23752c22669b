"""What happens to a page on its way into the docs, after nbdev's own steps (`doc_procs` in pyproject.toml). By hand, like `__init__`.

What `show_doc` gives becomes prose, so that its headings stand in the table of contents. Types are shortened, and the link to the
source is left out as long as its address is not known. HTML becomes a raw block: Quarto takes `text/html` for a widget, and then
loads two libraries from the network."""
import re
from nbdev.config import get_config

# The rule above an entry, which might be read as the start of YAML, and a dead link.
SOURCE = re.compile(r'^---\n+(?=\[source\]|### )|^\[source\]\(/blob/.*\n+', re.M)
DOTTED = re.compile(r'\b(?:[a-zA-Z_]\w*\.)+(?=[A-Z]\w*|ndarray\b)')

def short_types(text):
    "An entry with `DataArray` in its signature for `xarray.core.dataarray.DataArray`; comments and prose stay as they are."
    def line(l):
        code,mark,comment = l.partition('#')
        return DOTTED.sub('', code)+mark+comment
    def signature(m): return '\n'.join(map(line, m[0].split('\n')))
    return re.sub(r'^```python\ndef .*?^```', signature, text, flags=re.S|re.M)

def raw(html):
    "Markdown that gives the HTML as it is, less pandas' own styles, in a box that scrolls by itself where the page is narrow."
    html = re.sub(r'<style scoped>.*?</style>', '', html, flags=re.S)
    ticks = '`'*max(3, 1+max(map(len, re.findall('`+', html)), default=0))
    return f'{ticks}{{=html}}\n<div class="wide" tabindex="0" role="region" aria-label="Output">\n{html.strip()}\n</div>\n{ticks}\n'

CHANGES = '{{CHANGELOG.md}}'

def changes():
    "CHANGELOG.md without its title, as it stands when the docs are built."
    text = (get_config().config_path/'CHANGELOG.md').read_text(encoding='utf-8')
    return text.partition('\n')[2].strip()

class PlainPage:
    "A page that needs nothing from elsewhere and whose entries are prose."
    def __init__(self, nb): self.nb = nb

    def __call__(self, cell):
        if cell.cell_type!='code':
            if cell.source.strip()==CHANGES: cell.source = changes()
            return
        shown = [''.join(o['data']['text/markdown']) for o in cell.get('outputs', []) if 'text/markdown' in o.get('data', {})]
        if re.search(r'^show_doc\(', cell.source, re.M) and shown:
            cell.cell_type,cell.source = 'markdown',short_types(SOURCE.sub('', '\n\n'.join(shown)))
            for k in ('outputs','execution_count','has_sd'): cell.pop(k, None)
            return
        for data in (o['data'] for o in cell.get('outputs', []) if 'data' in o):
            data.pop('application/vnd.jupyter.widget-view+json', None)
            if 'text/html' in data: data['text/markdown'] = raw(''.join(data.pop('text/html')))

    def end(self): self.nb.metadata.pop('widgets', None)
