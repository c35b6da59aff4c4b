package apple

import "slices"

func commandAnswers() map[*method]func(*fake, id, *object, args) uintptr {
	return map[*method]func(*fake, id, *object, args) uintptr{
		commandBuffer: func(f *fake, _ id, _ *object, a args) uintptr {
			if f.refuse[commandBuffer] {
				return 0
			}
			if f.objects[id(a[0])].value != true {
				f.t.Error("command buffers retain what they use")
			}
			return uintptr(f.pooled("MTLCommandBuffer", &commands{done: make(chan struct{})}))
		},
		computeEncoder: func(f *fake, self id, o *object, a args) uintptr {
			if f.refuse[computeEncoder] {
				return 0
			}
			if a[0] != dispatchConcurrent {
				f.t.Errorf("encoder of type %d", a[0])
			}
			e := &encoding{bound: map[int]any{}, of: self}
			o.value.(*commands).encoder = e
			return uintptr(f.pooled("MTLComputeCommandEncoder", e))
		},
		commit: commitCommands,
		waitUntilCompleted: func(f *fake, _ id, o *object, _ args) uintptr {
			done := o.value.(*commands).done
			f.mu.Unlock() // the caller locks again
			<-done
			f.mu.Lock()
			return 0
		},
		commandStatus: func(f *fake, self id, _ *object, _ args) uintptr { return f.status[self] },
		commandError: func(f *fake, _ id, o *object, _ args) uintptr {
			e := o.value.(*commands).encoder
			info := f.pooled("MTLCommandBufferEncoderInfo", e)
			list := f.pooled("NSArray", []id{info})
			return uintptr(f.pooled("NSError", &failure{"MTLCommandBufferErrorDomain", 3, "Caused GPU Address Fault Error", f.pooled("NSDictionary", list)}))
		},
		infoLabel: func(f *fake, _ id, o *object, _ args) uintptr { return f.string(o.value.(*encoding).label) },
		infoState: number(4),
		infoSignposts: func(f *fake, _ id, o *object, _ args) uintptr {
			var list []id
			for _, s := range o.value.(*encoding).posts {
				list = append(list, f.pooled("NSString", s))
			}
			return uintptr(f.pooled("NSArray", list))
		},
	}
}

// commitCommands runs what was encoded in a goroutine, or fails it.
func commitCommands(f *fake, self id, o *object, _ args) uintptr {
	c := o.value.(*commands)
	if !c.encoder.ended {
		f.t.Error("commit before endEncoding")
	}
	hang := f.hang
	go func() {
		if hang != nil {
			<-hang
		}
		f.mu.Lock()
		defer f.mu.Unlock()
		f.status[self] = statusError
		if c.encoder.label != f.fault || f.fault == "" {
			f.status[self] = statusCompleted
			for _, op := range c.encoder.ops {
				op()
			}
		}
		close(c.done)
	}()
	return 0
}

func encoderAnswers() map[*method]func(*fake, id, *object, args) uintptr {
	on := func(do func(f *fake, e *encoding, a args)) func(*fake, id, *object, args) uintptr {
		return func(f *fake, _ id, o *object, a args) uintptr {
			e := o.value.(*encoding)
			if e.ended {
				f.t.Error("message to an encoder that has ended")
			}
			do(f, e, a)
			return 0
		}
	}
	return map[*method]func(*fake, id, *object, args) uintptr{
		setLabel:            on(func(f *fake, e *encoding, a args) { e.label = f.objects[id(a[0])].value.(string) }),
		insertDebugSignpost: on(func(f *fake, e *encoding, a args) { e.posts = append(e.posts, f.objects[id(a[0])].value.(string)) }),
		endEncoding: on(func(f *fake, e *encoding, _ args) {
			if e.ended = true; !e.updated {
				f.t.Error("the encoder ends without updating the fence")
			}
		}),
		setPipeline: on(func(f *fake, e *encoding, a args) { e.pipeline = f.objects[id(a[0])].value.(*pipeline).name }),
		setBuffer: on(func(f *fake, e *encoding, a args) {
			b := f.objects[id(a[0])].value.([]byte)
			if a[1] >= uintptr(len(b)) {
				f.t.Errorf("offset %d of a buffer of %d bytes", a[1], len(b))
			}
			e.bound[int(a[2])] = b[a[1]:]
		}),
		setBytes: on(func(f *fake, e *encoding, a args) {
			if a[1] == 0 || a[1] > 4096 {
				f.t.Errorf("setBytes of %d bytes", a[1])
			}
			e.bound[int(a[2])] = slices.Clone(bytesAt(a[0], a[1]))
		}),
		dispatchThreadgroups: on(func(f *fake, e *encoding, a args) {
			run, grid, threads, bound := f.kernels[e.pipeline], words(a[0]), words(a[1]), map[int]any{}
			for i, v := range e.bound {
				bound[i] = v
			}
			// The receiver owns the copies that it was given the addresses of.
			*(*[3]uint64)(pointer(a[0])), *(*[3]uint64)(pointer(a[1])) = [3]uint64{}, [3]uint64{}
			if run == nil {
				f.t.Errorf("no kernel %q", e.pipeline)
				return
			}
			e.ops = append(e.ops, func() { run(grid, threads, bound) })
		}),
		memoryBarrier: on(func(f *fake, _ *encoding, a args) {
			if a[0] != barrierBuffers {
				f.t.Errorf("barrier of scope %d", a[0])
			}
			f.barrier++
		}),
		updateFence: on(func(f *fake, e *encoding, _ args) { e.updated = true; f.fences = append(f.fences, "update") }),
		waitForFence: on(func(f *fake, e *encoding, _ args) {
			if e.updated || e.pipeline != "" {
				f.t.Error("the wait for the fence comes first")
			}
			f.fences = append(f.fences, "wait")
		}),
	}
}
