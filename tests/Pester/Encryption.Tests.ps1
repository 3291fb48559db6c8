BeforeAll {
    . (Join-Path $PSScriptRoot 'Common.ps1')
    . (Join-Path $PSScriptRoot 'ScriptedHost.ps1')
    $source = Join-Path $TestDrive 'source'
    New-SourceTree $source
    $secret = ConvertTo-SecureString 'correct horse – £' -AsPlainText -Force
    $other = ConvertTo-SecureString 'battery staple' -AsPlainText -Force
}

Describe 'An encrypted <Format> with <Encryption>' -ForEach @(
    @{ Format = 'Sparse'; Encryption = 'Aes128'; Name = 'a.sparseimage' }
    @{ Format = 'SparseBundle'; Encryption = 'Aes256'; Name = 'a.sparsebundle' }
    @{ Format = 'ReadWrite'; Encryption = 'Aes128'; Name = 'rw.dmg' }
    @{ Format = 'ReadOnly'; Encryption = 'Aes256'; Name = 'ro.dmg' }
    @{ Format = 'ReadOnlyZlib'; Encryption = 'Aes256'; Name = 'z.dmg' }
) {
    BeforeAll {
        $made = New-BackupImage $source (Join-Path $TestDrive $Name) -Format $Format -SizeBytes 64MB -Encryption $Encryption -Passphrase $secret
        $image = $made.Path
    }

    It 'is described by New-BackupImage as it is' {
        $made.Encryption | Should -Be $Encryption
        $made.Format | Should -Be $Format
        $made.IsLocked | Should -BeFalse
    }

    It 'is locked without its passphrase' {
        $locked = Get-BackupImage $image
        $locked.IsLocked | Should -BeTrue
        $locked.Encryption | Should -Be $Encryption
        $locked.Volumes | Should -BeNullOrEmpty
        $locked.Format | Should -BeIn $null, 'SparseBundle' -Because 'what is inside a locked file shows only when it is open'
    }

    It 'does not open with another passphrase' {
        { Get-BackupImage $image -Passphrase $other -ErrorAction Stop } | Should -Throw -ErrorId 'WrongPassphrase*'
    }

    It 'is inspected, verified, listed and restored with it' {
        (Get-BackupImage $image -Passphrase $secret).Volumes[0].Name | Should -Be 'source'
        Test-BackupImage $image -Passphrase $secret | Should -BeTrue
        (Get-BackupImageItem $image -Passphrase $secret -Include report.txt).SizeBytes | Should -Be (Get-Item (Join-Path $source 'report.txt')).Length
        $target = Join-Path $TestDrive "restored-$Format"
        $null = Restore-BackupImage $image $target -Passphrase $secret
        Get-TreeDigest $target | Should -Be (Get-TreeDigest $source)
    }

    It 'converts: encrypted as it was, or in the clear when that is asked for' {
        $kept = ConvertTo-ReadOnlyImage $image (Join-Path $TestDrive "kept-$Format.dmg") -Passphrase $secret
        $kept.Encryption | Should -Be $Encryption
        (Get-BackupImage $kept.Path).IsLocked | Should -BeTrue
        $open = ConvertTo-ReadOnlyImage $image (Join-Path $TestDrive "open-$Format.dmg") -Passphrase $secret -Encryption None
        $open.Encryption | Should -Be 'None'
        Test-BackupImage $open.Path | Should -BeTrue
    }

    It 'changes its passphrase' {
        { Set-BackupImagePassphrase $image -Passphrase $other -NewPassphrase $secret -ErrorAction Stop } | Should -Throw -ErrorId 'WrongPassphrase*'
        Set-BackupImagePassphrase $image -Passphrase $secret -NewPassphrase $other -WhatIf
        (Get-BackupImage $image -Passphrase $secret).IsLocked | Should -BeFalse
        (Set-BackupImagePassphrase $image -Passphrase $secret -NewPassphrase $other -PassThru).Encryption | Should -Be $Encryption
        { Get-BackupImage $image -Passphrase $secret -ErrorAction Stop } | Should -Throw -ErrorId 'WrongPassphrase*'
        Test-BackupImage $image -Passphrase $other | Should -BeTrue
        Set-BackupImagePassphrase $image -Passphrase $other -NewPassphrase $secret
    }
}

Describe 'Passphrases' {
    It 'are asked for where somebody is, and missed with a clear error where nobody is' {
        $script = "Import-Module '$ManifestPath'; New-BackupImage '$source' '$(Join-Path $TestDrive 'none.dmg')' -Encryption Aes256"
        $text = Invoke-PowerShell "try { $script -ErrorAction Stop } catch { `$_.FullyQualifiedErrorId }"
        $text | Should -BeLike 'PassphraseRequired*'
        Join-Path $TestDrive 'none.dmg' | Should -Not -Exist
    }

    It 'without an encryption are no encryption by mistake' {
        { New-BackupImage $source (Join-Path $TestDrive 'none.dmg') -Passphrase $secret } | Should -Throw -ErrorId 'InvalidArgument*'
    }

    It 'add an encryption when converting' {
        $plain = New-BackupImage $source (Join-Path $TestDrive 'plain.dmg')
        $locked = $plain | ConvertTo-ReadOnlyImage -DestinationPath (Join-Path $TestDrive 'locked.dmg') -Encryption Aes128 -Passphrase $secret
        $locked.Encryption | Should -Be 'Aes128'
        Test-BackupImage $locked.Path -Passphrase $secret | Should -BeTrue
    }

    It 'are in no stream' {
        $word = 'leak-' + [Guid]::NewGuid().ToString('N')
        $key = ConvertTo-SecureString $word -AsPlainText -Force
        $path = Join-Path $TestDrive 'stream.dmg'
        $all = New-BackupImage $source $path -Encryption Aes256 -Passphrase $key -Verbose -Debug -Force *>&1 | Out-String
        $all += try { Get-BackupImageItem $path -Passphrase $other -Verbose -Debug -ErrorAction Stop *>&1 | Out-String } catch { $_ | Format-List * -Force | Out-String }
        $all += Get-BackupImage $path -Passphrase $key -Verbose -Debug *>&1 | Format-List * -Force | Out-String
        $all += $Error | Format-List * -Force | Out-String
        $all | Should -Not -BeLike "*$word*"
    }

    It 'are not needed where nothing is encrypted' {
        $plain = New-BackupImage $source (Join-Path $TestDrive 'open.dmg')
        { Set-BackupImagePassphrase $plain.Path -Passphrase $secret -NewPassphrase $other -ErrorAction Stop } | Should -Throw -ErrorId 'InvalidArgument*'
        (Get-BackupImage $plain.Path -Passphrase $secret).IsLocked | Should -BeFalse
    }
}

Describe '-WhatIf' {
    # A process of its own: nobody is there who could be asked.
    BeforeAll {
        function Invoke-Alone([string] $Command) {
            Invoke-PowerShell "`$ErrorActionPreference = 'Stop'; Import-Module '$ManifestPath'; try { $Command } catch { `$_.FullyQualifiedErrorId }"
        }
        $plain = (New-BackupImage $source (Join-Path $TestDrive 'whatif-source.dmg')).Path
        $target = Join-Path $TestDrive 'whatif.dmg'
    }

    It 'needs no passphrase and asks for none: <Name>' -ForEach @(
        @{ Name = 'New-BackupImage'; Command = { "New-BackupImage '$source' '$target' -Encryption Aes256 -WhatIf" } }
        @{ Name = 'New-BackupImage, by preference'; Command = { "`$WhatIfPreference = `$true; New-BackupImage '$source' '$target' -Encryption Aes256" } }
        @{ Name = 'ConvertTo-ReadOnlyImage'; Command = { "ConvertTo-ReadOnlyImage '$plain' '$target' -Encryption Aes256 -WhatIf" } }
    ) {
        $text = Invoke-Alone (& $Command)
        $text | Should -Match 'What if: .*whatif\.dmg'
        $text | Should -Not -Match 'PassphraseRequired'
        $target | Should -Not -Exist
    }

    It 'the other way round, a passphrase is needed' {
        Invoke-Alone "New-BackupImage '$source' '$target' -Encryption Aes256 -WhatIf:`$false" | Should -Match 'PassphraseRequired'
        Invoke-Alone "ConvertTo-ReadOnlyImage '$plain' '$target' -Encryption Aes256" | Should -Match 'PassphraseRequired'
        $target | Should -Not -Exist
    }
}

Describe 'The keychain, where there is none' -Skip:$IsMacOS {
    BeforeAll {
        $locked = (New-BackupImage $source (Join-Path $TestDrive 'keychain.dmg') -Encryption Aes128 -Passphrase $secret).Path
        $target = Join-Path $TestDrive 'keychain-target.dmg'
        $before = Get-FileHash $locked
    }

    It 'is a clear error before anything is read or written: <Name>' -ForEach @(
        @{ Name = 'Get-BackupImage'; Command = { Get-BackupImage $locked -FromKeychain } }
        @{ Name = 'Get-BackupImageItem'; Command = { Get-BackupImageItem $locked -FromKeychain } }
        @{ Name = 'Test-BackupImage'; Command = { Test-BackupImage $locked -FromKeychain } }
        @{ Name = 'Resize-BackupImage'; Command = { Resize-BackupImage $locked -SizeBytes 1GB -FromKeychain } }
        @{ Name = 'Restore-BackupImage'; Command = { Restore-BackupImage $locked $target -FromKeychain } }
        @{ Name = 'ConvertTo-ReadOnlyImage from'; Command = { ConvertTo-ReadOnlyImage $locked $target -FromKeychain } }
        @{ Name = 'ConvertTo-ReadOnlyImage to'; Command = { ConvertTo-ReadOnlyImage $locked $target -Passphrase $secret -SaveToKeychain } }
        @{ Name = 'Set-BackupImagePassphrase from'; Command = { Set-BackupImagePassphrase $locked -FromKeychain -NewPassphrase $other } }
        @{ Name = 'Set-BackupImagePassphrase to'; Command = { Set-BackupImagePassphrase $locked -Passphrase $secret -NewPassphrase $other -SaveToKeychain } }
        @{ Name = 'New-BackupImage'; Command = { New-BackupImage $source $target -Encryption Aes256 -Passphrase $secret -SaveToKeychain } }
        @{ Name = 'an image that is not there'; Command = { Get-BackupImage (Join-Path $TestDrive 'nowhere.dmg') -FromKeychain } }
    ) {
        # Terminating, whatever the preference.
        $failure = try { & $Command -ErrorAction SilentlyContinue } catch { $_ }
        $failure.FullyQualifiedErrorId | Should -BeLike 'KeychainNotAvailable,*'
        $failure.CategoryInfo.Category | Should -Be 'NotImplemented'
        "$($failure.ErrorDetails.Message) $($failure.ErrorDetails.RecommendedAction)" | Should -BeLike '*macOS*Microsoft.PowerShell.SecretManagement*-Passphrase (Get-Secret BackupPassphrase)*'
        $target | Should -Not -Exist
        (Get-FileHash $locked).Hash | Should -Be $before.Hash
    }
}
