import socket
s = socket.create_connection(("127.0.0.1", 6379))
for _ in range(20):
    for i in range(5):
        s.sendall(b"*2\r\n$4\r\nINCR\r\n$1\r\na\r\n")
    got = b""
    while got.count(b"\n") < 5:
        got += s.recv(4096)
s.close()
