"use strict";
kdbench.start();
