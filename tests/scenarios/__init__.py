"""Scenarios that every node must pass, written once against `node.Node`.

A node's own tests offer a fixture `node` and import the modules that the node can do: `registration`, `restarts`, `health` and
`allocation` always, `sidecars` from kubelet 1.29 on, `pod_status` where it `reports_device_health`, `streams` where it can
`cut_streams`. The modules `plugin_…` are about kubelet itself, shown with the plugin of `tests/simulator/plugin.py`, for nodes in
whose folder the tests' own process can serve. Each scenario begins with kubelet running, and without pods, resources, an agent or
anything in `node.work`.
"""
