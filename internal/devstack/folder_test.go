package devstack

import (
	"net"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestAPortIsGivenToOneStackOnly(t *testing.T) {
	given := map[int]bool{}
	for range 200 {
		port, err := freePort()
		require.NoError(t, err)
		require.False(t, given[port], "port %d was given twice", port)
		given[port] = true

		// What another process would meet, though nobody listens on the port yet.
		_, err = net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: port})
		require.Error(t, err, "port %d is not kept from others", port)
	}
}
