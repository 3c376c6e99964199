# Networks: two containers that find each other by name, connected and disconnected as they run; ports.
img network create lab > /dev/null
img run -d --name db --network lab --network-alias data busybox sh -c 'echo served > /index.html; httpd -f -p 80 -h /' > /dev/null
until_true img exec db wget -qO- http://127.0.0.1/
ask() { img run --rm --network lab busybox wget -qO- "http://$1/"; }
same 'by name' served ask db
same 'by alias' served ask data
refused 'a name that is not there' 'bad address' ask nobody
background late
img network connect lab late
same 'connected live' served img exec late wget -qO- http://db/
img network disconnect lab late
refused 'disconnected live' 'bad address' img exec late wget -qO- http://db/
img rm -f late > /dev/null
img network create --internal closed > /dev/null
same 'no way out of an internal network' 0 img run --rm --network closed busybox sh -c 'ip route | grep -c default'
img network create --subnet 10.77.0.0/24 --subnet fd77::/64 both > /dev/null 2>&1
same 'an address of choice' served sh -c 'img run -d --name six --network both --ip 10.77.0.7 --ip6 fd77::7 busybox sh -c "echo served > /index.html; httpd -f -p 80 -h /" > /dev/null; sleep 2; img run --rm --network both busybox wget -qO- "http://[fd77::7]/"'
img rm -f db six > /dev/null
img run -d -p 127.0.0.1:8081:80 -p 8082:80/tcp --name web busybox sh -c 'echo served > /index.html; httpd -f -p 80 -h /' > /dev/null
until_true wget -qO- http://127.0.0.1:8082/
same 'a port on one address' served wget -qO- http://127.0.0.1:8081/
check 'ports as listed' '127.0.0.1:8081' img port web
img rm -f web > /dev/null
ip link set dummy0 up
img network create -d macvlan -o parent=dummy0 --subnet 10.88.0.0/24 wire > /dev/null
check macvlan '10.88.0.' img run --rm --network wire busybox ip addr show eth0
ip link del dummy0
img network rm lab closed both wire > /dev/null
