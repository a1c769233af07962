// Kubelet's own device manager, driven over a pipe: one JSON request a line on standard input, its answer a line on standard output.
//
// One source serves every release of kubelet. Between releases functions gain and lose parameters (a logger, a context, an operation),
// so they are called through `call`, which fills those in by their types.
package main

import (
	"bufio"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/klog/v2"
	pluginapi "k8s.io/kubelet/pkg/apis/deviceplugin/v1beta1"
	"k8s.io/kubernetes/pkg/kubelet/cm/admission"
	"k8s.io/kubernetes/pkg/kubelet/cm/containermap"
	"k8s.io/kubernetes/pkg/kubelet/cm/devicemanager"
	"k8s.io/kubernetes/pkg/kubelet/cm/topologymanager"
	"k8s.io/kubernetes/pkg/kubelet/cm/topologymanager/bitmask"
)

// Request says what to do; the fields below it belong to some of the commands.
type Request struct {
	ID int
	Do string

	Pods      []Pod  // start: those of before, whose containers run; admit: one
	NumaNodes []int  // start: those of the machine
	Affinity  []int  // start: the nodes that the topology manager wants for every container, if any
	UID       string // of a pod
	Resource  string
	Capacity  int64    // await: devices listed
	Healthy   []string // await: those of them that are allocatable
	WithinS   float64
}

// Answer has the result of the command, or why there is none.
type Answer struct {
	ID     int
	Result any    `json:",omitempty"`
	Error  string `json:",omitempty"`
}

// Rejection is the status of a pod that was not admitted.
type Rejection struct{ Reason, Message string }

// Kubelet is the device manager and what it asks of the rest of kubelet.
type Kubelet struct {
	manager      *devicemanager.ManagerImpl
	podResources *grpc.Server
	eventAt      time.Time // of the last start or cut

	admission sync.Mutex // kubelet admits one pod at a time
	ready     atomic.Bool
	mutex     sync.Mutex
	active    []Pod
}

func main() {
	flags := flag.NewFlagSet("klog", flag.ExitOnError)
	klog.InitFlags(flags)
	if err := flags.Parse([]string{"-v=3"}); err != nil {
		panic(err)
	}
	kubelet := &Kubelet{}
	output, writing := json.NewEncoder(os.Stdout), sync.Mutex{}
	input := json.NewDecoder(bufio.NewReader(os.Stdin))
	for {
		var request Request
		if input.Decode(&request) != nil {
			return // the tests have gone
		}
		// A plugin that hangs holds up an admission, and nothing else.
		go func() {
			answer := Answer{ID: request.ID}
			result, err := kubelet.do(request)
			if answer.Result = result; err != nil {
				answer.Error = err.Error()
			}
			writing.Lock()
			defer writing.Unlock()
			if err := output.Encode(answer); err != nil {
				panic(err)
			}
		}()
	}
}

func (k *Kubelet) do(request Request) (any, error) {
	switch request.Do {
	case "start":
		return k.start(request)
	case "stop":
		k.podResources.Stop()
		return nil, failure(call(k.manager.Stop))
	case "quantities":
		return k.quantities(), nil
	case "await":
		return k.await(request)
	case "admit":
		return k.admit(request.Pods[0]), nil
	case "delete":
		k.forget(request.UID)
		return nil, nil
	case "options":
		return k.options(request.UID)
	case "status":
		return k.status(request.UID), nil
	case "hints":
		return k.hints(request.Resource), nil
	case "cut":
		return nil, k.cut(request.Resource)
	}
	return nil, fmt.Errorf("no such command: %q", request.Do)
}

// AddSource and AllReady are the interface by which the manager knows that kubelet has heard of all pods.
func (k *Kubelet) AddSource(string) {}
func (k *Kubelet) AllReady() bool   { return k.ready.Load() }

// start makes a manager, which reads its checkpoint, and admits the pods of before. The result are those rejected, by UID.
func (k *Kubelet) start(request Request) (any, error) {
	containers, running := containermap.NewContainerMap(), map[string]sets.Empty{}
	for _, pod := range request.Pods {
		for _, container := range pod.Containers {
			id := pod.UID + "/" + container.Name
			containers.Add(pod.UID, container.Name, id)
			if !container.Init || container.Restartable {
				running[id] = sets.Empty{}
			}
		}
	}
	hint := &topologymanager.TopologyHint{}
	if len(request.Affinity) > 0 {
		nodes, err := bitmask.NewBitMask(request.Affinity...)
		if err != nil {
			return nil, err
		}
		hint = &topologymanager.TopologyHint{NUMANodeAffinity: nodes, Preferred: true}
	}
	topology := call(topologymanager.NewFakeManagerWithHint, hint)[0].Interface()
	made := call(devicemanager.NewManagerImpl, machine(request.NumaNodes), topology)
	if err := failure(made); err != nil {
		return nil, err
	}
	k.manager = made[0].Interface().(*devicemanager.ManagerImpl)
	k.active = nil
	k.ready.Store(false)
	if err := failure(call(k.manager.Start, k.activePods, k, containers, running)); err != nil {
		return nil, err
	}
	k.eventAt = time.Now()
	rejected := map[string]*Rejection{}
	for _, pod := range request.Pods {
		if rejection := k.admit(pod); rejection != nil {
			rejected[pod.UID] = rejection
		}
	}
	k.ready.Store(true)
	return rejected, k.servePodResources()
}

// admit allocates for one container after the other, as kubelet does with the topology policy "none". The first error rejects the pod.
func (k *Kubelet) admit(pod Pod) *Rejection {
	k.admission.Lock()
	defer k.admission.Unlock()
	k.mutex.Lock()
	k.active = append(k.active, pod)
	k.mutex.Unlock()
	object := pod.object()
	for _, container := range containersOf(object) {
		if err := failure(call(k.manager.Allocate, object, container)); err != nil {
			k.forget(pod.UID)
			result := admission.GetPodAdmitResult(err)
			return &Rejection{result.Reason, "Pod was rejected: " + result.Message}
		}
	}
	return nil
}

func (k *Kubelet) forget(uid string) {
	k.mutex.Lock()
	defer k.mutex.Unlock()
	kept := []Pod{}
	for _, pod := range k.active {
		if pod.UID != uid {
			kept = append(kept, pod)
		}
	}
	k.active = kept
}

func (k *Kubelet) pods() []Pod {
	k.mutex.Lock()
	defer k.mutex.Unlock()
	return append([]Pod{}, k.active...)
}

func (k *Kubelet) activePods() []*v1.Pod {
	objects := []*v1.Pod{}
	for _, pod := range k.pods() {
		objects = append(objects, pod.object())
	}
	return objects
}

func (k *Kubelet) pod(uid string) (*v1.Pod, error) {
	for _, pod := range k.pods() {
		if pod.UID == uid {
			return pod.object(), nil
		}
	}
	return nil, fmt.Errorf("no pod %s", uid)
}

// cut closes the connections to the plugins of a resource while both sockets stay, by the call with which kubelet forgets a plugin.
func (k *Kubelet) cut(name string) error {
	paths, err := filepath.Glob(pluginapi.DevicePluginPath + "*")
	k.eventAt = time.Now()
	for _, path := range paths {
		call(k.manager.GetWatcherHandler().DeRegisterPlugin, name, path)
	}
	return err
}

// machine describes the NUMA nodes in the type that this release takes.
func machine(nodes []int) any {
	function := reflect.TypeOf(devicemanager.NewManagerImpl)
	list := function.In(function.NumIn() - 2)
	described := reflect.MakeSlice(list, len(nodes), len(nodes))
	for index, id := range nodes {
		described.Index(index).FieldByName("Id").SetInt(int64(id))
	}
	return described.Interface()
}
