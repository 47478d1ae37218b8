"""The page that shows a net: what it is, where its time goes, where its accuracy goes.

    operators.py     the net's operators as rows, with what feeds what, and the blocks that they form
    layout.py        where they stand in the picture
    activations.py   what images show of every blob
    findings.py      what is worth saying first
    sections.py      the page's parts; view.css and view.js are what it needs beyond caffe2_common.pages

Figures come from where the other commands have theirs: inspection and profiling (caffe2_models), latencies
(runtime_lut), noise and answers (exporters.int8.measurement).
"""
