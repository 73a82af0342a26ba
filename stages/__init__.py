"""One script a stage, named in dvc.yaml; each reads inputs, calls facestudy, writes outputs.

`python -m stages.NAME` imports this first: from here on the stage ends with the dvc that started it, and at
Ctrl-C, without a word, also in the seconds in which its imports load TensorFlow.
"""

import signal
import sys

from facestudy.runtime.processes import end_with_parent

if sys.argv[0] == "-m":  # while Python looks for the stage's module
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # and not ignored, as in the background
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    end_with_parent()
