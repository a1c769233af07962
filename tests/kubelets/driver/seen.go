package main

import (
	"fmt"
	"reflect"
	"time"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/kubernetes/pkg/kubelet/cm/devicemanager"
	"k8s.io/kubernetes/pkg/kubelet/cm/topologymanager"
)

// quantities are capacity and allocatable by resource, as kubelet writes them to the status of its node.
func (k *Kubelet) quantities() map[string][2]int64 {
	results := call(k.manager.GetCapacity)
	capacity, allocatable := results[0].Interface().(v1.ResourceList), results[1].Interface().(v1.ResourceList)
	quantities := map[string][2]int64{}
	for _, removed := range results[2].Interface().([]string) {
		quantities[removed] = [2]int64{}
	}
	for name, all := range capacity {
		healthy := allocatable[name]
		quantities[string(name)] = [2]int64{all.Value(), healthy.Value()}
	}
	return quantities
}

// await returns how many seconds after the last start or cut a resource has the devices that are wanted.
func (k *Kubelet) await(request Request) (any, error) {
	wanted := [2]int64{request.Capacity, int64(len(request.Healthy))}
	for began := time.Now(); ; time.Sleep(200 * time.Microsecond) {
		quantity, healthy := k.quantities()[request.Resource], k.healthy(request.Resource)
		if quantity == wanted && healthy.Equal(sets.New(request.Healthy...)) {
			return time.Since(k.eventAt).Seconds(), nil
		}
		if time.Since(began).Seconds() > request.WithinS {
			return nil, fmt.Errorf("after %v s kubelet has %v with %v healthy instead of %v with %v healthy",
				request.WithinS, quantity, sets.List(healthy), wanted, request.Healthy)
		}
	}
}

// healthy are the devices that kubelet would allocate from.
func (k *Kubelet) healthy(name string) sets.Set[string] {
	devices := call(k.manager.GetAllocatableDevices)[0].Interface().(devicemanager.ResourceDeviceInstances)[name]
	return sets.KeySet(devices)
}

// options are what the runtime is told of each container's devices.
func (k *Kubelet) options(uid string) (any, error) {
	pod, err := k.pod(uid)
	if err != nil {
		return nil, err
	}
	options := map[string]any{}
	for _, container := range containersOf(pod) {
		results := call(k.manager.GetDeviceRunContainerOptions, pod, container)
		if err := failure(results); err != nil {
			return nil, err
		}
		options[container.Name] = results[0].Interface()
	}
	return options, nil
}

// status is the pod's status with the health of its devices, for releases that have it.
func (k *Kubelet) status(uid string) any {
	status := &v1.PodStatus{}
	pod, err := k.pod(uid)
	update := reflect.ValueOf(k.manager).MethodByName("UpdateAllocatedResourcesStatus")
	if err != nil || !update.IsValid() {
		return status
	}
	for _, container := range pod.Spec.Containers {
		status.ContainerStatuses = append(status.ContainerStatuses, v1.ContainerStatus{Name: container.Name})
	}
	call(update.Interface(), pod, status)
	return status
}

// hints are the sets of NUMA nodes on which one more device could be had, each with whether it is preferred.
func (k *Kubelet) hints(name string) any {
	pod := Pod{UID: "hints", Containers: []Container{{Name: "main", Devices: map[string]int64{name: 1}}}}.object()
	hints := call(k.manager.GetTopologyHints, pod, &pod.Spec.Containers[0])[0].Interface().(map[string][]topologymanager.TopologyHint)
	sets := [][2]any{}
	for _, hint := range hints[name] {
		sets = append(sets, [2]any{hint.NUMANodeAffinity.GetBits(), hint.Preferred})
	}
	return sets
}
