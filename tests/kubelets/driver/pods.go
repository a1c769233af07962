package main

import (
	"reflect"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// Pod is a pod as the tests say it.
type Pod struct {
	UID, Name, Namespace string
	Containers           []Container
}

// Container asks for devices by resource name. A restartable init container is a sidecar.
type Container struct {
	Name              string
	Devices           map[string]int64
	Init, Restartable bool
}

// object is the pod as kubelet knows it.
func (p Pod) object() *v1.Pod {
	pod := &v1.Pod{ObjectMeta: metav1.ObjectMeta{UID: types.UID(p.UID), Name: p.Name, Namespace: p.Namespace}}
	for _, wanted := range p.Containers {
		limits := v1.ResourceList{}
		for name, count := range wanted.Devices {
			limits[v1.ResourceName(name)] = *resource.NewQuantity(count, resource.DecimalSI)
		}
		container := v1.Container{Name: wanted.Name, Resources: v1.ResourceRequirements{Limits: limits, Requests: limits}}
		// Up to 1.27 there is no such field, and a sidecar is an ordinary init container.
		if policy := reflect.ValueOf(&container).Elem().FieldByName("RestartPolicy"); wanted.Restartable && policy.IsValid() {
			policy.Set(reflect.New(policy.Type().Elem()))
			policy.Elem().SetString("Always")
		}
		if wanted.Init {
			pod.Spec.InitContainers = append(pod.Spec.InitContainers, container)
		} else {
			pod.Spec.Containers = append(pod.Spec.Containers, container)
		}
	}
	return pod
}

// containersOf are the containers in the order of their admission.
func containersOf(pod *v1.Pod) []*v1.Container {
	containers := []*v1.Container{}
	for _, list := range [][]v1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for index := range list {
			containers = append(containers, &list[index])
		}
	}
	return containers
}
