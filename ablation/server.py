"""The first import of the fork server, which is born deaf to Ctrl-C: from here on it ends of it at once, silently.

Its other imports take seconds, and Python would end them with a traceback.
"""

import signal

if signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, []):
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT])
