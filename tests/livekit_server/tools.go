//go:build tools

// Package tools keeps the LiveKit server of the end-to-end tests in go.mod and go.sum. Build it with
//
//	go build -o livekit-server github.com/livekit/livekit-server/cmd/server
package tools

import _ "github.com/livekit/livekit-server/cmd/server"
