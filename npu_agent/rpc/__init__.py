"""What grpclib lacks: calls that cannot cancel us, servers whose connections are known."""
