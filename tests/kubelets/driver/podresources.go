package main

import (
	"context"
	"net"
	"os"
	"path/filepath"

	"google.golang.org/grpc"
	podresourcesapi "k8s.io/kubelet/pkg/apis/podresources/v1"
)

const podResourcesSocket = "/var/lib/kubelet/pod-resources/kubelet.sock"

// servePodResources answers with kubelet's own messages. Kubelet's server itself asks interfaces that differ between releases.
func (k *Kubelet) servePodResources() error {
	if err := os.MkdirAll(filepath.Dir(podResourcesSocket), 0o750); err != nil {
		return err
	}
	if err := os.Remove(podResourcesSocket); err != nil && !os.IsNotExist(err) {
		return err
	}
	listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: podResourcesSocket, Net: "unix"})
	if err != nil {
		return err
	}
	// Kubelet leaves it behind too; and a server that ends late would remove the socket of the next.
	listener.SetUnlinkOnClose(false)
	server := grpc.NewServer()
	podresourcesapi.RegisterPodResourcesListerServer(server, &lister{kubelet: k})
	k.podResources = server
	go func() { _ = server.Serve(listener) }()
	return nil
}

type lister struct {
	podresourcesapi.UnimplementedPodResourcesListerServer
	kubelet *Kubelet
}

// List has active pods, without their ordinary init containers, and frees the devices of others.
func (l *lister) List(context.Context, *podresourcesapi.ListPodResourcesRequest) (*podresourcesapi.ListPodResourcesResponse, error) {
	call(l.kubelet.manager.UpdateAllocatedDevices)
	response := &podresourcesapi.ListPodResourcesResponse{}
	for _, pod := range l.kubelet.pods() {
		listed := &podresourcesapi.PodResources{Name: pod.Name, Namespace: pod.Namespace}
		for _, container := range pod.Containers {
			if container.Init && !container.Restartable {
				continue
			}
			resources := &podresourcesapi.ContainerResources{Name: container.Name}
			for name, devices := range l.kubelet.manager.GetDevices(pod.UID, container.Name) {
				for id := range devices {
					device := &podresourcesapi.ContainerDevices{ResourceName: name, DeviceIds: []string{id}}
					resources.Devices = append(resources.Devices, device)
				}
			}
			listed.Containers = append(listed.Containers, resources)
		}
		response.PodResources = append(response.PodResources, listed)
	}
	return response, nil
}

// GetAllocatableResources has the healthy devices, one entry for each, as kubelet would allocate from.
func (l *lister) GetAllocatableResources(
	context.Context, *podresourcesapi.AllocatableResourcesRequest,
) (*podresourcesapi.AllocatableResourcesResponse, error) {
	response := &podresourcesapi.AllocatableResourcesResponse{}
	for name := range l.kubelet.quantities() {
		for id := range l.kubelet.healthy(name) {
			device := &podresourcesapi.ContainerDevices{ResourceName: name, DeviceIds: []string{id}}
			response.Devices = append(response.Devices, device)
		}
	}
	return response, nil
}
