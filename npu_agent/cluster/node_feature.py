"""A NodeFeature object for the master of Node Feature Discovery, which labels the node by it.

It needs less power than labelling: objects of our own namespace alone (api/nfd/v1alpha1/types.go of NFD, group nfd.k8s-sigs.io).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from npu_agent.cluster.access import Identity, identity_of
from npu_agent.cluster.backoff import LOOK_AGAIN_S
from npu_agent.cluster.client import APPLY, ApiServer, Object
from npu_agent.cluster.errors import ApiRefused
from npu_agent.cluster.labels import describe
from npu_agent.cluster.node import MANAGER
from npu_agent.core.accelerator import Accelerator
from npu_agent.core.state import NodeState

NODE_NAME_LABEL = "nfd.node.kubernetes.io/node-name"
GROUP = "/apis/nfd.k8s-sigs.io/v1alpha1"
INSTANCES = "npu-agent.accelerator"
"""The name of the feature that has an element for each card, for NodeFeatureRules."""

NOT_FOUND = 404


@dataclass(frozen=True, slots=True)
class Features:
    """What the object is to say: labels of the node, and the attributes of each card."""

    labels: Mapping[str, str]
    cards: tuple[Mapping[str, str], ...]


class NodeFeature:
    """Applies the object of the node `name`, in the namespace that we run in. It goes with the pod whose token we have."""

    source = "NFD's NodeFeature"
    look_again_s = LOOK_AGAIN_S

    def __init__(self, api: ApiServer, name: str, prefix: str) -> None:
        self._api = api
        self._name = name
        self._prefix = prefix

    def wanted(self, state: NodeState) -> Features:
        cards = (tracked.accelerator for _, tracked in sorted(state.inventory.items()) if tracked.vanished_at is None)
        return Features(describe(state.inventory, self._prefix).labels, tuple(attributes(card) for card in cards if not card.unusable))

    async def bring(self, wanted: Features) -> str:
        access = self._api.find()
        path = f"{GROUP}/namespaces/{access.namespace}/nodefeatures/{object_name(self._name)}"
        own = manifest(self._name, access.namespace, wanted, identity_of(access.token))
        try:
            there: Object = await self._api.request("GET", path)
        except ApiRefused as refused:
            if refused.status != NOT_FOUND:
                raise
            there = {}
        if not _says(there, own):
            query = {"fieldManager": MANAGER, "force": "true"}
            await self._api.request("PATCH", path, query=query, body=own, content_type=APPLY)
        return ""


def object_name(node: str) -> str:
    """Return the name of the object: one of each producer and node."""
    return f"npu-agent-{node}"[:253]


def manifest(node: str, namespace: str, features: Features, identity: Identity) -> Object:
    """Return the object that says `features` of `node`."""
    metadata: dict[str, Any] = {"name": object_name(node), "namespace": namespace, "labels": {NODE_NAME_LABEL: node}}
    if identity.pod:
        metadata["ownerReferences"] = [{"apiVersion": "v1", "kind": "Pod", "name": identity.pod, "uid": identity.pod_uid}]
    elements = [{"attributes": dict(card)} for card in features.cards]
    spec: dict[str, Any] = {"features": {"flags": {}, "attributes": {}, "instances": {INSTANCES: {"elements": elements}}}}
    if features.labels:  # a mapping whose last key goes by apply becomes null, which the kind does not take
        spec["labels"] = dict(features.labels)
    return {"apiVersion": "nfd.k8s-sigs.io/v1alpha1", "kind": "NodeFeature", "metadata": metadata, "spec": spec}


def attributes(card: Accelerator) -> Mapping[str, str]:
    """Return what a NodeFeatureRule can ask of a card; a name that has no value is absent."""
    found = {
        "id": card.id,
        "family": card.family,
        "product": card.model_line.product.name,
        "driver": card.driver,
        "firmware": card.firmware,
        "pci-address": card.pci_address,
        "numa-node": "" if card.numa_node is None else str(card.numa_node),
    }
    return {name: value for name, value in {**dict(card.attributes), **found}.items() if value}


def _says(there: Object, own: Object) -> bool:
    """Return whether the object that is there says what `own` does; what others added to its labels is theirs."""
    if not there or there.get("spec", {}).get("labels", {}) != own["spec"].get("labels", {}):
        return False
    instances = there["spec"].get("features", {}).get("instances", {})
    if instances.get(INSTANCES, {}).get("elements", []) != own["spec"]["features"]["instances"][INSTANCES]["elements"]:
        return False
    metadata, mine = there.get("metadata", {}), own["metadata"]
    if not mine["labels"].items() <= metadata.get("labels", {}).items():
        return False
    uids = {owner.get("uid") for owner in metadata.get("ownerReferences", ())}
    return all(owner["uid"] in uids for owner in mine.get("ownerReferences", ()))
