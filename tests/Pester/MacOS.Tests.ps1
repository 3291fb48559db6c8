# What only a Mac can say: its own tools mount, check and verify the images. Run on macOS, where hdiutil is.
BeforeAll {
    . (Join-Path $PSScriptRoot 'Common.ps1')
    $source = Join-Path $TestDrive 'Documents'
    New-SourceTree $source
}

Describe 'macOS and a <Format>' -Tag MacOS -ForEach @(
    @{ Format = 'Sparse'; Name = 'a.sparseimage' }
    @{ Format = 'SparseBundle'; Name = 'a.sparsebundle' }
    @{ Format = 'ReadWrite'; Name = 'rw.dmg' }
    @{ Format = 'ReadOnly'; Name = 'ro.dmg' }
    @{ Format = 'ReadOnlyZlib'; Name = 'z.dmg' }
) {
    BeforeAll {
        $image = (New-BackupImage $source (Join-Path $TestDrive $Name) -Format $Format -SizeBytes 256MB -VolumeName 'Mac Test').Path
        $readOnly = $Format -like 'ReadOnly*'
    }

    It 'attaches it, mounts the volume and reads every file' {
        $mount = Join-Path $TestDrive "mount-$Format"
        $null = New-Item $mount -ItemType Directory
        $device = $null
        try {
            $plist = & hdiutil attach -plist -nobrowse -readonly -mountpoint $mount $image | Out-String
            $LASTEXITCODE | Should -Be 0
            $device = [regex]::Matches($plist, '/dev/disk\d+') | ForEach-Object Value | Select-Object -First 1
            $hidden = '.fseventsd', '.Trashes', '.Spotlight-V100'
            $seen = Get-TreeDigest $mount | Where-Object { $_.Split('/')[0] -notin $hidden }
            $seen | Should -Be (Get-TreeDigest $source)
            (Get-Item (Join-Path $mount 'report.txt')).UnixMode | Should -Be '-rwxr-x--x'
            (Get-Item (Join-Path $mount 'link')).LinkTarget | Should -Be 'notes/draft.tmp'
        }
        finally { if ($device) { & hdiutil detach $device -force | Out-Null } }
    }

    It 'finds nothing wrong with the volume' {
        $device = $null
        try {
            $lines = & hdiutil attach -nomount -readonly $image
            $LASTEXITCODE | Should -Be 0
            $device = ($lines | Select-Object -First 1).Split()[0]
            $slice = ($lines | Where-Object { $_ -match 'Apple_HFS' }).Split()[0]
            & /sbin/fsck_hfs -fn $slice | Out-String | Write-Verbose
            $LASTEXITCODE | Should -Be 0
        }
        finally { if ($device) { & hdiutil detach $device -force | Out-Null } }
    }

    It 'verifies the checksums' -Skip:($Format -notlike 'ReadOnly*') {
        & hdiutil verify $image 2>&1 | Out-String | Write-Verbose
        $LASTEXITCODE | Should -Be 0
    }

    It 'writes to it, and it still reads' -Skip:($Format -like 'ReadOnly*') {
        $mount = Join-Path $TestDrive "write-$Format"
        $null = New-Item $mount -ItemType Directory
        & hdiutil attach -nobrowse -mountpoint $mount $image | Out-Null
        $LASTEXITCODE | Should -Be 0
        try { Set-Content (Join-Path $mount 'written by macOS.txt') 'hello' }
        finally { & hdiutil detach $mount -force | Out-Null }
        (Get-BackupImageItem $image -Include 'written by macOS.txt').SizeBytes | Should -Be 6
    }

    It 'recognises the format' {
        & hdiutil imageinfo -format $image | Should -Be (Get-BackupImage $image).FormatCode
    }
}

# What a Mac keeps of a file beside its content: made by its own programs, and read back by them from the mounted volume and from the restored folder.
Describe 'macOS'' metadata' -Tag MacOS {
    BeforeAll {
        # Birth, change, mode and flags; the attributes in hexadecimal; the access control list as ls shows it. Each line begins with the name.
        function Get-Metadata([string] $Path) {
            foreach ($name in 'file', 'link', 'sub', 'twin') {
                $item = Join-Path $Path $name
                "$name stat $(& /usr/bin/stat -f '%B %m %Lp %#Xf' $item)"
                foreach ($attribute in 'com.example.test', 'com.apple.FinderInfo', 'com.apple.ResourceFork') {
                    "$name $attribute $((& /usr/bin/xattr -spx $attribute $item 2>$null) -join ' ')"
                }
                foreach ($line in & /bin/ls -lde $item | Select-Object -Skip 1) { "$name list $($line.Trim())" }
            }
        }

        $folder = Join-Path $TestDrive 'metadata'
        $null = New-Item $folder, (Join-Path $folder 'sub') -ItemType Directory
        Set-Content (Join-Path $folder 'file') 'content'
        foreach ($name in 'file', 'sub') {
            $item = Join-Path $folder $name
            & /usr/bin/xattr -w com.example.test 'a value' $item
            & /usr/bin/xattr -wx com.apple.FinderInfo ('00' * 8 + '0400' + '00' * 22) $item
            & /bin/chmod +a 'everyone deny delete' $item
            & /bin/chmod +a 'group:staff allow read,readattr,readextattr,readsecurity' $item
        }
        & /usr/bin/xattr -wx com.apple.ResourceFork ('0102' * 50) (Join-Path $folder 'file')
        & /bin/ln -s file (Join-Path $folder 'link')
        & /bin/ln (Join-Path $folder 'file') (Join-Path $folder 'twin')
        Set-Content (Join-Path $folder 'plain') ('compressible ' * 10000)
        & /usr/bin/ditto --hfsCompression (Join-Path $folder 'plain') (Join-Path $folder 'compressed')
        & /usr/bin/touch -t 201802030405.06 (Join-Path $folder 'file')
        & /usr/bin/chflags hidden,uchg (Join-Path $folder 'file')

        $image = (New-BackupImage $folder (Join-Path $TestDrive 'metadata.dmg')).Path
        $restored = Join-Path $TestDrive 'restored metadata'
        $null = Restore-BackupImage $image $restored
        $expected = Get-Metadata $folder
    }
    AfterAll { foreach ($path in $folder, $restored) { & /usr/bin/chflags -R nouchg $path; & /bin/chmod -RN $path } }

    It 'is there to be kept' {
        @($expected -match '^\S+ list .*everyone deny delete') | Should -HaveCount 3
        @($expected -match '^\S+ com\.apple\.ResourceFork (01 02 )+') | Should -HaveCount 2
        @($expected -match '^\S+ com\.example\.test 61 20') | Should -HaveCount 3
        @($expected -match '^file stat .* 0X8002$') | Should -HaveCount 1
    }

    It 'comes back from the image' { Get-Metadata $restored | Should -Be $expected }

    It 'is what macOS reads in the volume' {
        $mounted = Mount-BackupImage $image -NoBrowse -PassThru
        try { Get-Metadata $mounted.MountPoints[0] | Should -Be $expected }
        finally { $mounted | Dismount-BackupImage -Force }
    }

    It 'leaves out the compression of the system, not the content' {
        (Get-FileHash (Join-Path $restored 'compressed')).Hash | Should -Be (Get-FileHash (Join-Path $folder 'plain')).Hash
    }

    It 'marks a bundle as a package, whatever its name' {
        $bundle = (New-BackupImage $folder (Join-Path $TestDrive 'without extension') -Format SparseBundle -SizeBytes 64MB).Path
        & /usr/bin/xattr -px com.apple.FinderInfo $bundle | Out-String | Should -Match '^(00 ){8}20'
    }
}
