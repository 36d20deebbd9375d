"""Floor 3: what has to come before what, what would change, and how it is made so.

The engine sees protocols (`Resource`, `HostReader`, `HostWriter`) and never SSH, Kubernetes or a package;
its only clock is the event loop's, so that tests run it in simulated time.
"""
