package main

import (
	"context"
	"fmt"
	"reflect"

	"k8s.io/klog/v2"
)

// call calls a function whose parameters differ between releases. Those given are taken in order wherever their types fit.
func call(function any, given ...any) []reflect.Value {
	value := reflect.ValueOf(function)
	arguments := []reflect.Value{}
	for index := 0; index < value.Type().NumIn(); index++ {
		parameter := value.Type().In(index)
		if len(given) > 0 && reflect.TypeOf(given[0]).AssignableTo(parameter) {
			arguments = append(arguments, reflect.ValueOf(given[0]))
			given = given[1:]
			continue
		}
		arguments = append(arguments, usual(parameter))
	}
	return value.Call(arguments)
}

func usual(parameter reflect.Type) reflect.Value {
	logger := klog.Background()
	switch {
	case parameter == reflect.TypeOf(logger):
		return reflect.ValueOf(logger)
	case parameter == reflect.TypeOf((*context.Context)(nil)).Elem():
		return reflect.ValueOf(klog.NewContext(context.Background(), logger))
	case parameter.Name() == "Operation":
		return reflect.ValueOf("add").Convert(parameter)
	}
	panic(fmt.Sprintf("this release has a parameter of type %s, which call.go does not know", parameter))
}

// failure is the error among the results of a function, if any.
func failure(results []reflect.Value) error {
	if err, ok := results[len(results)-1].Interface().(error); ok {
		return err
	}
	return nil
}
